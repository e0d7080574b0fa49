-- Changes what joinback:applications says of one application, and leaves the rest of it as it is.
--
-- KEYS  1 joinback:applications
-- ARGV  1 application   2 shards, or empty   3 sample rate, or empty   4 TTL of the key (s)
--
-- Returns the JSON that stands now.

local stored = redis.call('HGET', KEYS[1], ARGV[1])
local valid, said = pcall(cjson.decode, stored or '{}')
if not valid or type(said) ~= 'table' then said = {} end
if ARGV[2] ~= '' then said.shards = tonumber(ARGV[2]) end
if ARGV[3] ~= '' then said.sample_rate = tonumber(ARGV[3]) end
said.shards = said.shards or 1
local json = cjson.encode(said)
redis.call('HSET', KEYS[1], ARGV[1], json)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return json

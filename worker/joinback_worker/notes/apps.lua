-- Changes the shards or the sample rate of one application in joinback:applications, and keeps its other fields.
--
-- KEYS  1 joinback:applications
-- ARGV  1 application   2 shards, or empty   3 sample rate, or empty   4 TTL of the key (s)
--
-- Returns the application's JSON as it is now.

local stored = redis.call('HGET', KEYS[1], ARGV[1])
local valid, application = pcall(cjson.decode, stored or '{}')
if not valid or type(application) ~= 'table' then application = {} end
if ARGV[2] ~= '' then application.shards = tonumber(ARGV[2]) end
if ARGV[3] ~= '' then application.sample_rate = tonumber(ARGV[3]) end
application.shards = application.shards or 1
local json = cjson.encode(application)
redis.call('HSET', KEYS[1], ARGV[1], json)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return json

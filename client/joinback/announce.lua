-- Tells the worker of an application: its shards and the rate of its sample. One key, which no batch touches.
--
-- KEYS  1 joinback:applications
-- ARGV  1 application   2 its JSON as it was seen last, empty if there was none   3 its JSON as it should be then
--       4 TTL of the key (s)
--
-- Returns the JSON that stands now: the third argument, or what somebody else wrote meanwhile.

local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored == ARGV[2] then
  if stored ~= ARGV[3] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
  stored = ARGV[3]
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return stored

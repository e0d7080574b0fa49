-- Announces an application to the worker: its shards and its sample rate. It uses one key, which no batch uses.
--
-- KEYS  1 joinback:applications
-- ARGV  1 application   2 its JSON as the caller last saw it, empty if there was none   3 its new JSON
--       4 TTL of the key (s)
--
-- Writes the new JSON only if the old one has not changed. Returns the JSON that stands now: the new one, or what
-- somebody else wrote meanwhile.

local stored = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if stored == ARGV[2] then
  if stored ~= ARGV[3] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
  stored = ARGV[3]
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return stored

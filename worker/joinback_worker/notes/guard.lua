-- Publishes a sink: where none is published, or in place of exactly one value, or in place of any.
--
-- KEYS  1 joinback:sink   ARGV  1 TTL (s)   2 the entry   3 'adopt': replace any value
--       then pairs: field, the value that it may replace ('' for none)
-- Returns the whole hash. It is one step, so that only one of two first workers wins. A full Redis refuses HSET as a
-- script's first write, so HDEL, which it allows, comes first: the guard works on a full Redis too.

local key, ttl_s, entry, adopt = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == 'adopt'
redis.call('HDEL', key, '')
for i = 4, #ARGV, 2 do
  local field, replaceable = ARGV[i], ARGV[i + 1]
  local standing = redis.call('HGET', key, field)
  local is_first = not standing and redis.call('HEXISTS', key, '*') == 0
  if adopt or is_first or standing == replaceable then redis.call('HSET', key, field, entry) end
end
redis.call('EXPIRE', key, ttl_s)
return redis.call('HGETALL', key)

-- Notes how the last drains of applications ended.
-- KEYS  1 joinback:drains   ARGV  1 its TTL (s)   then pairs: field, JSON
-- A full Redis refuses HSET as a script's first write, so HDEL, which it allows, comes first.
redis.call('HDEL', KEYS[1], '')
-- It sets them in parts, because Lua's stack holds some thousand values.
for i = 2, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[1])

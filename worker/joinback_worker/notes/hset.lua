-- Sets fields of a hash and its TTL in one step: a worker that died between two steps would leave a key for ever.
-- KEYS  1 the hash   ARGV  1 its TTL (s)   then pairs: field, value
-- It sets them in parts, because Lua's stack holds some thousand values.
for i = 2, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[1])

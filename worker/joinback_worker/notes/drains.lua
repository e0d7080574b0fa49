-- Notes when applications were drained.
-- KEYS  1 joinback:drains   ARGV  1 its TTL (s)   2.. pairs: field, JSON
-- A full Redis refuses HSET as the first write of a script, so one that it allows goes before.
redis.call('HDEL', KEYS[1], '')
-- In parts: Lua's stack holds some thousand values.
for i = 2, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[1])

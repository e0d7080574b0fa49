-- Sets fields of a hash, and its TTL with them: a worker that died in between would leave a key for ever.
-- KEYS: the hash. ARGV: its TTL in seconds; then fields and values.
-- In parts: Lua's stack holds some thousand values.
for i = 2, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[1])

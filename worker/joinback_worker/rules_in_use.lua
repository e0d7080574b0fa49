-- Notes which rules are in use, with the TTL in one step.
-- KEYS: joinback:rules. ARGV: its TTL in seconds; then field and value of each application.
-- In parts: Lua's stack holds some thousand values.
for i = 2, #ARGV, 2000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('EXPIRE', KEYS[1], ARGV[1])

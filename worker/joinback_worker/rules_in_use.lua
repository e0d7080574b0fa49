-- Notes which rules are in use, with the TTL in one step.
-- KEYS: joinback:rules. ARGV: its TTL in seconds; then field and value of each application.
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])

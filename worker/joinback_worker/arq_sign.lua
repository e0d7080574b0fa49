-- Writes the sign that `arq --check` looks for.
-- KEYS  1 the sign   ARGV  1 its text   2 its TTL (s)
-- A full Redis refuses SET as a script's first write, so DEL, which it allows, comes first.
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])

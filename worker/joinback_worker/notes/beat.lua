-- Writes a worker's sign of life, and removes the signs of workers that are gone.
-- KEYS  1 the hash of workers   ARGV  1 its TTL (s)   2 worker   3 its sign, as JSON   4.. workers that are gone
-- A full Redis refuses HSET as a script's first write, so HDEL, which it allows, comes first.
redis.call('HDEL', KEYS[1], ARGV[2], unpack(ARGV, 4))
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return redis.call('EXPIRE', KEYS[1], ARGV[1])

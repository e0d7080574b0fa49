-- Notes the numbers of shards under which an application is written, or was until now, so that the worker looks there.
--
-- KEYS  1 joinback:layouts
-- ARGV  1 TTL of the key (s)   2 HSET, or HSETNX to keep a time that is already there
--       3.. for each number its field "<shards>:<application>" and the time

for i = 3, #ARGV, 2 do redis.call(ARGV[2], KEYS[1], ARGV[i], ARGV[i + 1]) end
return redis.call('EXPIRE', KEYS[1], ARGV[1])

-- Sets a tombstone for each of these join keys: whatever comes of them until then is erased by the next drain.
-- KEYS  1 erased
-- ARGV  1 a new salt, if there is none   2 how long from now (s)   3 tombstones at most   4.. the join keys
-- Returns until when they hold, in Unix seconds; -1, and no new tombstone, if they would be too many.
local erased, ttl_s = KEYS[1], tonumber(ARGV[2])
local now_s = tonumber(redis.call('TIME')[1])
redis.call('HSETNX', erased, 'salt', ARGV[1])
if redis.call('TTL', erased) < ttl_s then redis.call('EXPIRE', erased, ttl_s) end
local salt = redis.call('HGET', erased, 'salt')
local fields = redis.call('HGETALL', erased)
for i = 1, #fields, 2 do
  if fields[i] ~= 'salt' and (tonumber(fields[i + 1]) or 0) <= now_s then redis.call('HDEL', erased, fields[i]) end
end
if redis.call('HLEN', erased) - 1 + #ARGV - 3 > tonumber(ARGV[3]) then return -1 end
local until_s = now_s + ttl_s
for i = 4, #ARGV do
  local field = redis.sha1hex(salt .. ARGV[i])
  local told_s = tonumber(redis.call('HGET', erased, field) or 0) or 0
  redis.call('HSET', erased, field, string.format('%.0f', math.max(told_s, until_s)))
end
return until_s

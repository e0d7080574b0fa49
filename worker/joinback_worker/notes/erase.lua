-- Sets a tombstone for each of these join keys: until it ends, a drain erases whatever comes for the key.
-- KEYS  1 erased
-- ARGV  1 a salt, used if there is none yet   2 how long from now (s)   3 tombstones, at most   4.. the join keys
-- Returns until when they hold, in Unix seconds. Returns -1, and sets none, if there would be too many.
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
  local noted_s = tonumber(redis.call('HGET', erased, field) or 0) or 0
  redis.call('HSET', erased, field, string.format('%.0f', math.max(noted_s, until_s)))
end
return until_s

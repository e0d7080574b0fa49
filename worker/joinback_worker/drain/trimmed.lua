-- Acknowledges entries that this consumer claimed and the stream does not hold any more: Redis 6.2 keeps them claimed.
-- KEYS  1 pending   ARGV  1 group   2 consumer   3 entries to look at, at most   Returns how many were acknowledged.
local pending, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local acknowledged = 0
for _, claim in ipairs(redis.call('XPENDING', pending, group, '-', '+', ARGV[3], consumer)) do
  if #redis.call('XRANGE', pending, claim[1], claim[1]) == 0 then
    acknowledged = acknowledged + redis.call('XACK', pending, group, claim[1])
  end
end
return acknowledged

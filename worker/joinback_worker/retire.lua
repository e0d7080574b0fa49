-- Removes a consumer that holds no claim. In one step: one deleted with entries would take them with it.
-- KEYS  1 pending   ARGV  1 group   2 consumer
local pending, group, consumer = KEYS[1], ARGV[1], ARGV[2]
-- A full Redis 6 refuses XGROUP as the first write of a script, so one that it allows goes before.
redis.call('XACK', pending, group, '0-0')
if redis.call('EXISTS', pending) == 1 and #redis.call('XPENDING', pending, group, '-', '+', 1, consumer) == 0 then
  return redis.call('XGROUP', 'DELCONSUMER', pending, group, consumer)
end
return 0

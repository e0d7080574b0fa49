-- Removes consumers that hold no claim. In one step: one deleted with entries would take them with it.
-- KEYS  1 pending   ARGV  1 group   2.. consumers   Returns how many are gone.
local pending, group = KEYS[1], ARGV[1]
-- A full Redis 6 refuses XGROUP as the first write of a script, so one that it allows goes before.
redis.call('XACK', pending, group, '0-0')
local gone = 0
if redis.call('EXISTS', pending) == 1 then
  for i = 2, #ARGV do
    if #redis.call('XPENDING', pending, group, '-', '+', 1, ARGV[i]) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', pending, group, ARGV[i])
      gone = gone + 1
    end
  end
end
return gone

-- Removes those of these consumers that hold no claim. To look and to remove is one step: to remove a consumer that
-- holds claims would lose them.
-- KEYS  1 pending   ARGV  1 group   2.. consumers   Returns how many were removed.
local pending, group = KEYS[1], ARGV[1]
-- A full Redis 6 refuses XGROUP as a script's first write, so XACK, which it allows, comes first.
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

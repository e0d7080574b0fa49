-- Notes the feedback fields of one tag, counts their values that break the rules, and sets the TTL, in one step.
-- KEYS  1 joinback:{tag}:fields
-- ARGV  1 its TTL (s)   2 the time   3 the number of names   4.. the names (twice: more than one event had the field)
--       then pairs: name, number of its values that broke
-- Returns the names that are new.
local new = {}
local names = tonumber(ARGV[3])
for i = 4, 3 + names do
  if redis.call('HSETNX', KEYS[1], 'seen:' .. ARGV[i], ARGV[2]) == 1 then
    new[#new + 1] = ARGV[i]
  else
    redis.call('HSETNX', KEYS[1], 'again:' .. ARGV[i], ARGV[2])
  end
end
for i = 4 + names, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], 'broken:' .. ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return new

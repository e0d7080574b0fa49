-- Notes feedback fields of one tag, and their values that are not what is declared, with the TTL in one step.
-- KEYS: the hash joinback:{tag}:fields.
-- ARGV: its TTL in seconds; the time; how many names; the names, one that is told again twice; then name and count of each that broke.
-- Answers the names that are new.
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

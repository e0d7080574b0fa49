-- Finds which of these join keys are erased.
-- KEYS  1 erased   ARGV  the join keys
-- Returns the indexes, from 1, of those that are.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is a ' .. kind .. ', not a hash; rename or delete it')
end
local salt = redis.call('HGET', KEYS[1], 'salt')
local erased = {}
if not salt then return erased end
local now_s = tonumber(redis.call('TIME')[1])
for i, join_key in ipairs(ARGV) do
  local until_s = redis.call('HGET', KEYS[1], redis.sha1hex(salt .. join_key))
  if until_s and (tonumber(until_s) or 0) > now_s then erased[#erased + 1] = i end
end
return erased

-- Counts dead letters by reason, from the newest back, a page at a time: a letter may have a megabyte. Writes nothing.
-- KEYS  1 dead
-- ARGV  1 the last id, with "(" before it if it is left out itself   2 the first id
--       3 bytes, 4 letters: about the most of a page
-- Returns {the id of the oldest of them, then pairs: reason, number}; '' for the id if none is left.
local last, first, bytes_max, letters_max = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local step = 16
local counts, letters, bytes, oldest = {}, 0, 0, ''
while bytes < bytes_max and letters < letters_max do
  local part = redis.call('XREVRANGE', KEYS[1], last, first, 'COUNT', step)
  for _, letter in ipairs(part) do
    local reason = ''
    for i = 1, #letter[2], 2 do
      if letter[2][i] == 'reason' then reason = letter[2][i + 1] end
      bytes = bytes + #letter[2][i + 1]
    end
    counts[reason] = (counts[reason] or 0) + 1
    letters, oldest = letters + 1, letter[1]
  end
  if #part < step then
    oldest = ''
    break
  end
  last = '(' .. oldest
end
local reply = {oldest}
for reason, number in pairs(counts) do
  reply[#reply + 1] = reason
  reply[#reply + 1] = number
end
return reply

-- Reads a page of dead letters, bounded in bytes: each may be a megabyte.
-- KEYS  1 dead   ARGV  1 first id (or '(' and the id before it)   2 last id   3 bytes, 4 letters: about the most
-- Returns the letters as XRANGE does; none at the end.
local start, last, bytes_max, letters_max = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local step = 16
local found, bytes = {}, 0
while bytes < bytes_max and #found < letters_max do
  local part = redis.call('XRANGE', KEYS[1], start, last, 'COUNT', step)
  for _, letter in ipairs(part) do
    found[#found + 1] = letter
    for _, text in ipairs(letter[2]) do bytes = bytes + #text end
  end
  if #part < step then break end
  start = '(' .. part[step][1]
end
return found

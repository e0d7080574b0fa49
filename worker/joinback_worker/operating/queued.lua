-- Finds the pending entries of one join key among the next entries of the stream. Writes nothing.
-- KEYS  1 pending
-- ARGV  1 the join key   2 the first id, and 3 the last, each with "(" before it if it is left out itself
--       4 how many entries to look at
-- Returns {how many entries were looked at, the id of the last of them, then id, kind and event id of each that was
-- found}. The id of the last is '' if there was none.
local page = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
local reply = {#page, #page > 0 and page[#page][1] or ''}
for _, entry in ipairs(page) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if fields.key == ARGV[1] then
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = fields.kind or ''
    reply[#reply + 1] = fields.id or ''
  end
end
return reply

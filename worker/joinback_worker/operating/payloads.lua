-- Reads one event of each of these records, if it is small. Writes nothing.
-- KEYS  the records, all of one tag
-- ARGV  1 the most bytes of an event   2 ... a field of each record, in the order of KEYS
-- Returns the events, in the order of KEYS; '' for one that is gone or larger, or if the key holds another type.
local found = {}
for i, record in ipairs(KEYS) do
  local size = redis.pcall('HSTRLEN', record, ARGV[i + 1])
  local is_read = type(size) == 'number' and size > 0 and size <= tonumber(ARGV[1])
  found[i] = is_read and redis.call('HGET', record, ARGV[i + 1]) or ''
end
return found

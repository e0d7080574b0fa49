-- Reads which events some records have, without their contents.
-- KEYS  the record keys
-- ARGV  1 fields of one record at most; of a larger one, and of what is no record, nothing is told
-- Returns for each key the names of its fields.
local fields_max = tonumber(ARGV[1])
local found = {}
for i, key in ipairs(KEYS) do
  local length = redis.pcall('HLEN', key)
  if type(length) == 'number' and length > 0 and length <= fields_max then
    found[i] = redis.call('HKEYS', key)
  else
    found[i] = {}
  end
end
return found

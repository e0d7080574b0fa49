-- Reads which events some records have, without the contents of the events.
-- KEYS  the record keys
-- ARGV  1 the most fields of one record; a larger record, and a key that is not a record, counts as empty
-- Returns for each key an array of the names of its fields.
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

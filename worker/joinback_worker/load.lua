-- Reads the records of a chunk in one call.
-- KEYS  the record keys   Returns for each: a flat list field, value, ... (empty: gone), or its type's name.
local records = {}
for i, key in ipairs(KEYS) do
  local record = redis.pcall('HGETALL', key)
  records[i] = record.err and redis.call('TYPE', key).ok or record
end
return records

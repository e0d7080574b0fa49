-- Reads the records of a slice in one call, in the order of the keys, as many as the budget has room for.
-- KEYS  the record keys
-- ARGV  1 bytes of fields and values at most
--       2 fields, 3 bytes of one record at most: nobody is asked for a larger one whole
--       4 how many records are read in any case
-- Returns for each record that was read: a flat list field, value, ... (empty: gone), the name of its type if it
-- is no hash, or {number of fields, bytes (0: not measured)} if it is too large.
local budget, fields_max, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local records_min = tonumber(ARGV[4])
local records, spent = {}, 0
for i, key in ipairs(KEYS) do
  local length = redis.pcall('HLEN', key)
  if type(length) == 'table' then
    local kind = redis.call('TYPE', key).ok
    -- A hash that cannot be read is no fault of the record's.
    if kind == 'hash' then return length end
    records[i] = kind
  else
    local bytes = 0
    if length <= fields_max then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        bytes = bytes + #field + redis.call('HSTRLEN', key, field)
      end
    end
    if length > fields_max or bytes > bytes_max then
      records[i] = {length, bytes}
    elseif i > records_min and spent + bytes > budget then
      break
    else
      spent = spent + bytes
      records[i] = redis.call('HGETALL', key)
    end
  end
end
return records

-- Tests every limit and takes every hold, or none. An empty hold id only looks.
-- KEYS  per subject: leases, holds, marks, then its windows.
-- ARGV  number of subjects; per subject: number of windows; per window: in how many ms it may be forgotten ( '0' never), number
--       of counters, for each its settled and its held field; number of tests; per test: which counter, 'l' look or 'h' hold,
--       the limit's amount. Then: hold id, lease in ms, clock in ms ('0': Redis' own), the wanted amounts with spaces between.
-- Gives 1, or {0, settled, held, settled, held, ...} in the order of the tests.

local last = #ARGV
local id, lease, now = ARGV[last - 3], ARGV[last - 2], now_ms(ARGV[last - 1])
local wanted = {}
for amount in string.gmatch(ARGV[last], '%d+') do wanted[#wanted + 1] = amount end

local has_room, reply, subjects = id ~= '', { 0 }, {}
local key_at, at, test_number = 1, 2, 0
for _ = 1, tonumber(ARGV[1]) do
  local leases, holds = KEYS[key_at], KEYS[key_at + 1]
  reclaim(leases, holds, KEYS[key_at + 2], now)
  key_at = key_at + 3
  local keys, fields, settled, held, forget_in, takes = {}, {}, {}, {}, {}, {}
  local windows = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, windows do
    local count = tonumber(ARGV[at + 1])
    local values = redis.call('HMGET', KEYS[key_at], unpack(ARGV, at + 2, at + 1 + 2 * count))
    for number = 1, count do
      local cell = #keys + 1
      keys[cell], fields[cell] = KEYS[key_at], ARGV[at + 1 + 2 * number]
      settled[cell], held[cell] = values[2 * number - 1] or '0', values[2 * number] or '0'
      forget_in[cell] = (values[2 * number - 1] or values[2 * number]) and '0' or ARGV[at]
    end
    key_at, at = key_at + 1, at + 2 + 2 * count
  end
  local tests = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, tests do
    local cell, mode, amount = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
    at, test_number = at + 3, test_number + 1
    local want = wanted[test_number]
    if mode == 'l' then
      if not fits(settled[cell], '0', '1', amount) then has_room = false end
    elseif want ~= '0' then
      if not fits(settled[cell], held[cell], want, amount) then has_room = false end
      if not takes[cell] or not fits(want, '0', '0', takes[cell]) then takes[cell] = want end
    end
    reply[#reply + 1], reply[#reply + 2] = settled[cell], held[cell]
  end
  subjects[#subjects + 1] = { leases, holds, keys, fields, forget_in, takes }
end
if not has_room then return reply end

for _, subject in ipairs(subjects) do
  local keys, fields, forget_in, takes, taken = subject[3], subject[4], subject[5], subject[6], {}
  for cell = 1, #keys do
    local amount = takes[cell]
    if amount then
      redis.call('HINCRBY', keys[cell], fields[cell], amount)
      if forget_in[cell] ~= '0' then redis.call('PEXPIRE', keys[cell], forget_in[cell]) end
      taken[#taken + 1] = keys[cell] .. ' ' .. fields[cell] .. ' ' .. amount
    end
  end
  redis.call('ZADD', subject[1], now + tonumber(lease), id)
  redis.call('HSET', subject[2], id, table.concat(taken, ' '))
end
return 1

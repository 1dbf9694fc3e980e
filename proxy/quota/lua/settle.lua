-- Replaces a hold by the truth, in the windows it was taken in; with amounts of 0 it is a release. Safe to send again.
-- KEYS  per subject: leases, holds, marks, then its windows.
-- ARGV  number of subjects; per subject: number of windows; per window: in how many ms it may be forgotten ( '0' never), number
--       of counters, the settled field of each. Then: hold id, '1' to count also where the hold is unknown (the owner knows that
--       it was lost with the data, not settled before), the amounts with spaces between.
-- Gives 1 where all holds were there, else per subject: 1 the hold was there · 2 it was swept or lost, and is counted now · 3 was done before · 0 unknown, not counted.

local last = #ARGV
local id, is_forced = ARGV[last - 2], ARGV[last - 1] == '1'
local amounts = {}
for amount in string.gmatch(ARGV[last], '%d+') do amounts[#amounts + 1] = amount end

local reply, is_plain, key_at, at, cell = {}, true, 1, 2, 0
for subject = 1, tonumber(ARGV[1]) do
  local leases, holds, marks = KEYS[key_at], KEYS[key_at + 1], KEYS[key_at + 2]
  local state, taken = 0, redis.call('HGET', holds, id)
  if taken then
    give_back(taken)
    redis.call('HDEL', holds, id)
    redis.call('ZREM', leases, id)
    state = 1
  else
    local mark = redis.call('HGET', marks, id)
    if mark == 'd' then
      state = 3
    elseif mark == 's' or is_forced then
      redis.call('HSET', marks, id, 'd')
      redis.call('PEXPIRE', marks, MARKS_LIVE_MS)
      state = 2
    end
  end
  key_at = key_at + 3
  local windows = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, windows do
    local forget_in, count = ARGV[at], tonumber(ARGV[at + 1])
    for number = 1, count do
      cell = cell + 1
      local amount = amounts[cell]
      if amount ~= '0' and (state == 1 or state == 2) then
        local total = redis.call('HINCRBY', KEYS[key_at], ARGV[at + 1 + number], amount)
        if forget_in ~= '0' and total == tonumber(amount) then redis.call('PEXPIRE', KEYS[key_at], forget_in) end
      end
    end
    key_at, at = key_at + 1, at + 2 + count
  end
  reply[subject] = state
  if state ~= 1 then is_plain = false end
end
if is_plain then return 1 end
return reply

-- Counts without a hold: lifts settled counts to the ledger's figures ('s', never lowers), or adds usage from outside ('a').
-- KEYS  windows.   ARGV  's' or 'a'; per window: in how many ms it may be forgotten ( '0' never), number of counters, per counter its
-- settled field and the amount.

local at = 2
for _, key in ipairs(KEYS) do
  local forget_in, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, count do
    local field, amount = ARGV[at], ARGV[at + 1]
    if ARGV[1] == 'a' then
      redis.call('HINCRBY', key, field, amount)
    elseif not fits(amount, '0', '0', redis.call('HGET', key, field) or '0') then
      redis.call('HSET', key, field, amount)
    end
    at = at + 2
  end
  if forget_in ~= '0' then redis.call('PEXPIRE', key, forget_in) end
end
return 1

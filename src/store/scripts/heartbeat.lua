-- KEYS: the inbox of the former owner, if there was one. ARGV: 1 if the owner joins, the former owner or nothing, the
-- lease in milliseconds, the limit, the share that is kept to, the share that is needed, the share that is wanted, a name
-- for people, the schema, the org or nothing, a digest of the timing, for how long what it sends counts if it leaves.
local joins, was, lease = ARGV[3] == '1', ARGV[4], tonumber(ARGV[5])
local limit, hold, need, want = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
-- All of a group have one schema and serve one org. The first that is there says which.
local introduced = redis.call('HGET', NAMES, '@')
if introduced ~= ARGV[11] .. ':' .. ARGV[12] then
  local schema, org = string.match(introduced or '', '^(%d+):(.*)$')
  local other_schema = schema and schema ~= ARGV[11]
  -- Where connectors bring the org's id, it is not known.
  local other_org = org and org ~= '' and ARGV[12] ~= '' and org ~= ARGV[12]
  if other_schema or other_org then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', NODES, '(' .. now, '+inf')) do
      if member ~= me then
        return redis.error_reply(other_schema and 'ANOTHERSCHEMA ' .. schema or 'ANOTHERORG ' .. org)
      end
    end
  end
  if not introduced or other_schema or ARGV[12] ~= '' then
    redis.call('HSET', NAMES, '@', ARGV[11] .. ':' .. ARGV[12])
  end
end

local known = redis.call('ZSCORE', NODES, me)
local status = 'lapsed'
if known then
  if now < tonumber(known) then status = 'kept' end
elseif joins then
  status = 'joined'
end

-- What was changed while running ends with the last that runs.
if status == 'joined' and was == '' and #redis.call('ZRANGEBYSCORE', NODES, '(' .. now, '+inf') == 0 then
  redis.call('DEL', TIMING)
end

local mail = {}
if status ~= 'lapsed' then
  redis.call('ZADD', NODES, now + lease, me)
  redis.call('HSET', NUMBERS, me, number)
  redis.call('HSET', NAMES, me, ARGV[10])
  if was ~= '' then
    redis.call('HDEL', SHARES, was, '~' .. was)
    mail = take_mail(KEYS[7])
  end
end

-- If the store's clock has gone back, nothing lasts longer for that.
local function clamped(field, till, most)
  if status ~= 'lapsed' and till > most then
    till = most
    redis.call('HSET', SHARES, field, till)
  end
  return till
end

local all = redis.call('HGETALL', SHARES)
local share, others, reserved, smallest = 0, 0, 0, limit
local settles_at, smallest_of_others = nil, limit
local needs = {}
local leases, timings = { [me] = lease }, {}
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if field == '?' then
    settles_at = clamped(field, tonumber(value), now + 2500)
  elseif string.sub(field, 1, 1) == '~' then
    local requests, till = string.match(value, '(%d+):(%d+)')
    if now < tonumber(till) then
      reserved = reserved + requests
      local most = now + 60000
      if status ~= 'lapsed' and tonumber(till) > most then redis.call('HSET', SHARES, field, requests .. ':' .. most) end
    elseif status ~= 'lapsed' then
      redis.call('HDEL', SHARES, field)
    end
  else
    local requests, cap, its_lease, its_need, its_timing = string.match(value, '(%d+):(%d+):(%d+):(%d+):(%d+)')
    smallest = math.min(smallest, tonumber(cap))
    if field == me then
      share = tonumber(requests)
    else
      others = others + requests
      smallest_of_others = math.min(smallest_of_others, tonumber(cap))
      leases[field], timings[field] = tonumber(its_lease), its_timing
      needs[field] = { tonumber(requests), tonumber(its_need) }
    end
  end
end

if status ~= 'lapsed' then
  local latest = redis.call('ZRANGEBYSCORE', NODES, '(' .. now, '+inf', 'WITHSCORES')
  for i = 1, #latest, 2 do
    local most = now + (leases[latest[i]] or lease)
    if tonumber(latest[i + 1]) > most then redis.call('ZADD', NODES, most, latest[i]) end
  end
end
local members = redis.call('ZRANGEBYSCORE', NODES, '(' .. now, '+inf')
local lapsed = redis.call('ZRANGEBYSCORE', NODES, '-inf', now)

local most, sought = smallest, 0
if status ~= 'lapsed' then
  local free = math.max(smallest - others - reserved, 0)
  local fair = math.floor(smallest / math.max(#members, 1))
  -- What others lack of an equal part is not for those who have one, and is given up by those who have more.
  local lacking = 0
  for _, member in ipairs(members) do
    local has, needed = unpack(needs[member] or { 0, 0 })
    lacking = lacking + math.max(math.min(needed, fair) - has, 0)
    if has < needed and fair < needed then sought = 1 end
  end
  if lacking > 0 then most = math.max(fair, math.max(hold, free) - lacking) end
  want = math.min(want, most)
  -- A store that has lost its memory doesn't know what others keep to, until all that reach it have told it.
  if not settles_at then
    settles_at = now + 2500
    redis.call('HSET', SHARES, '?', settles_at)
  end
  if now < settles_at then want = math.min(want, hold) end
  share = math.min(math.max(hold, math.min(want, free)), free)
  -- Until the owner has reported less, it keeps to what it had: the answer may get lost.
  local row = math.max(share, hold) .. ':' .. limit .. ':' .. lease .. ':' .. need .. ':' .. ARGV[13]
  redis.call('HSET', SHARES, me, ARGV[14] == '' and row or row .. ':' .. now + tonumber(ARGV[14]))
  smallest = math.min(limit, smallest_of_others)
end
-- All should have the same.
local other_lease, other_timing = 0, 0
for _, member in ipairs(members) do
  if timings[member] and timings[member] ~= ARGV[13] then other_timing = 2 end
  if (leases[member] or lease) ~= lease then other_lease = 1 end
end
local differs = other_lease + other_timing
return { status, share, most, sought, smallest, members, lapsed, now, mail, differs, redis.call('HGET', TIMING, 'version') or '0' }

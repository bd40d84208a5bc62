-- KEYS: the inboxes into which mail may be put. ARGV: how many they are, whose they are, then by threes an operation,
-- its conversation and its detail:
--   k, o  a keystroke, opened           what follows the number in its mail
--   p     what ends the typing          what follows the number in its mail
--   e     the owner was told to end it  nothing
--   l     light                         nothing
--   t     take over from the dead       the endings that are known of, or nothing for any
--   c, r  claim, release                the value as it was seen
--   d     dim                           the strays that are known of
--   s     stray                         what follows the number in its mail
--   g     give                          the owner that it is given to, + or -, then what follows the number in its mail
--   a     answer to a ticket            the owner that waits, then what follows the number in its mail
-- Answers each: G granted, M mine, T taken over, E elsewhere, P and how many endings (nothing for 0) posted, U its inbox was
-- not named, D done, S and how many strays.
-- Answers L, and does nothing, if the owner that asks has lapsed.
if not is_alive(me) then return 'L' end
local count = tonumber(ARGV[3])
local inboxes = {}
for i = 1, count do inboxes[ARGV[3 + i]] = KEYS[6 + i] end
local first = 4 + count

local names, known = {}, {}
for i = first, #ARGV, 3 do
  local name = ARGV[i + 1]
  if not known[name] then
    known[name] = true
    names[#names + 1] = name
  end
end
if #names == 0 then return {} end
local found = redis.call('HMGET', HELD, unpack(names))
local owner, on, strays, endings, changed = {}, {}, {}, {}, {}
for i, name in ipairs(names) do
  if found[i] then owner[name], on[name], strays[name], endings[name] = read(found[i]) end
end

local alive = { [me] = true }
local function lives(other)
  if alive[other] == nil then alive[other] = is_alive(other) or false end
  return alive[other]
end

local function set(name, ...)
  owner[name], on[name], strays[name] = ...
  changed[name] = true
end

-- What was posted before has no say any more about whether the user is typing.
local function ended(name)
  endings[name] = (endings[name] or 0) + 1
  changed[name] = true
end

-- Nothing if another owner has it that is alive. Never clears what is on.
local function acquire(name, lit)
  local holder, was = owner[name], on[name]
  if not holder then
    set(name, me, lit, 0)
    return 'G'
  elseif holder == me then
    if lit and not was then set(name, me, true, strays[name]) end
    return 'M'
  elseif not lives(holder) then
    set(name, me, was or lit, 0)
    return was and 'T' or 'G'
  end
end

local mail, length = {}, {}
local function has_room(to, most)
  if not mail[to] then
    mail[to], length[to] = {}, redis.call('LLEN', inboxes[to])
  end
  return length[to] < most
end

local function send(to, nth, detail)
  length[to] = length[to] + 1
  table.insert(mail[to], now .. ':' .. nth .. ':' .. detail)
end

local function post(name, kind, detail)
  local holder = owner[name]
  if not inboxes[holder] then return 'U' end
  local nth = 0
  if kind == 's' then
    nth = strays[name] + 1
    set(name, holder, true, nth)
  end
  -- Who doesn't read gives up keystrokes first: they would be too old.
  if has_room(holder, kind == 'k' and 10000 or 20000) then send(holder, nth, detail) end
  if kind == 's' then return 'E' end
  if kind == 'p' then ended(name) end
  return endings[name] and 'P' .. endings[name] or 'P'
end

local answers = {}
for i = first, #ARGV, 3 do
  local op, name, detail = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local holder, answer = owner[name], 'D'
  if op == 'k' or op == 'o' or op == 'p' then
    answer = acquire(name, op == 'k')
    if answer and op == 'p' then ended(name) end
    answer = answer or post(name, op, detail)
  elseif op == 'e' then
    if holder == me then ended(name) end
  elseif op == 'l' then
    answer = acquire(name, true) or 'E'
  elseif op == 't' then
    if holder and (detail == '' or (endings[name] or 0) == tonumber(detail)) then answer = acquire(name, true) or 'E' end
  elseif op == 's' then
    answer = acquire(name, true) or post(name, op, detail)
  elseif op == 'c' then
    local seen, lit, nth = read(detail)
    if holder and (holder == me or holder == seen) then
      local missed = strays[name] ~= nth
      answer = missed and 'S' .. strays[name] or 'M'
      set(name, me, lit or missed, strays[name])
    else
      answer = acquire(name, lit) or 'E'
    end
  elseif op == 'd' then
    if holder == me then
      if strays[name] ~= tonumber(detail) then
        answer = 'S' .. strays[name]
      else
        set(name, me, false, strays[name])
      end
    elseif holder and lives(holder) then
      answer = 'E'
    end
  elseif op == 'g' then
    local to = string.sub(detail, 1, 16)
    if holder == me and to ~= me and inboxes[to] and lives(to) and has_room(to, 20000) then
      set(name, to, string.sub(detail, 17, 17) == '+', 0)
      send(to, 0, string.sub(detail, 18))
      answer = 'E'
    end
  elseif op == 'a' then
    local to = string.sub(detail, 1, 16)
    if not inboxes[to] then
      answer = 'U'
    elseif has_room(to, 20000) then
      send(to, 0, string.sub(detail, 17))
    end
  elseif op == 'r' then
    local seen, _, nth = read(detail)
    if holder and holder == seen then
      if strays[name] == nth then
        set(name, false)
        endings[name] = nil
      elseif holder == me then
        answer = 'S' .. strays[name]
      end
    end
  end
  answers[#answers + 1] = answer
end

local put, gone = {}, {}
for name in pairs(changed) do
  if owner[name] then
    put[#put + 1] = name
    put[#put + 1] = written(owner[name], on[name], strays[name], endings[name])
  else
    gone[#gone + 1] = name
  end
end
if #put > 0 then redis.call('HSET', HELD, unpack(put)) end
if #gone > 0 then redis.call('HDEL', HELD, unpack(gone)) end
for holder, lines in pairs(mail) do
  if #lines > 0 then
    redis.call('RPUSH', inboxes[holder], unpack(lines))
    redis.call('PEXPIRE', inboxes[holder], 60000)
  end
end
return answers

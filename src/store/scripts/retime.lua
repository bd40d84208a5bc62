-- ARGV: the version that is known, the next one, then the changes of the timing. Answers 1 if they hold for all from now on.
if (redis.call('HGET', TIMING, 'version') or '0') ~= ARGV[3] then return 0 end
redis.call('HSET', TIMING, 'version', ARGV[4], 'changes', ARGV[5])
return 1

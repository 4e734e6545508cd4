-- Sends one token after the other. Arguments: the file of tokens, "once" or "again", and
-- any number of paths that requests take in turn.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   once = args[2] == "once"
   exhausted = false
   requests = {}
   local paths = {}
   for place = 3, #args do paths[#paths + 1] = args[place] end
   if #paths == 0 then paths[1] = "/" end
   for token in io.lines(args[1]) do
      requests[#requests + 1] = wrk.format("GET", paths[#requests % #paths + 1], {
         ["Host"] = "app.example.com",
         ["User-Agent"] = "side-by-side",
         ["Accept"] = "*/*",
         ["Authorization"] = "Bearer " .. token,
      })
   end
   place = 0
end

function request()
   place = place + 1
   if place > #requests then
      if once then
         exhausted = true
         wrk.thread:stop()
      end
      place = 1
   end
   return requests[place]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "micros": %d, "p50": %d, "p99": %d, "exhausted": %s, ' ..
      '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      tostring(threads[1]:get("exhausted")),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end

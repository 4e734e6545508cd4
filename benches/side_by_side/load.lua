-- Sends one token after the other. Arguments: the file of tokens, "once" or "again", and
-- any number of paths that requests take in turn, and headers (`Name: value`) that all of them have.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   once = args[2] == "once"
   exhausted = false
   requests = {}
   local paths = {}
   local headers = {}
   for place = 3, #args do
      local name, value = args[place]:match("^([%w-]+): (.*)$")
      if name then headers[name] = value else paths[#paths + 1] = args[place] end
   end
   if #paths == 0 then paths[1] = "/" end
   for token in io.lines(args[1]) do
      headers["Host"] = "app.example.com"
      headers["User-Agent"] = "side-by-side"
      headers["Accept"] = "*/*"
      headers["Authorization"] = "Bearer " .. token
      requests[#requests + 1] = wrk.format("GET", paths[#requests % #paths + 1], headers)
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

-- Asks usher about a request: the action `lua.usher`, for HAProxy 2.6 or newer.
--
-- A yes sets the identity headers and `txn.usher` to `passed`. A no is answered at once, as usher
-- said it. Whatever goes wrong here leaves `txn.usher` unset, and haproxy.cfg lets nobody pass then.

local URL = "http://127.0.0.1:8080/_usher/auth"
local TIMEOUT = 6000 -- milliseconds; more than users.wait. HAProxy asks a silent usher four times

-- All of `headers` in usher.yaml, and the one that says that a user is still to come.
local IDENTITY = { "x-user-id", "x-user-email", "x-user-name", "x-user-provisioned" }

-- What belongs to the client's connection and to its body.
local ASIDE = {
    "connection", "content-length", "expect", "forwarded", "host", "keep-alive", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
}

-- What a no carries on to the client.
local PASSED_ON = { "www-authenticate", "retry-after", "content-type", "cache-control" }

-- A header's values, which HAProxy counts from 0.
local function values(given)
    local list = {}
    for place = 0, #given do
        list[#list + 1] = given[place]
    end
    return list
end

-- The client's headers, and the request in the words of `dialect: haproxy`.
local function describe(txn)
    local headers = {}
    for name, given in pairs(txn.http:req_get_headers()) do
        headers[name] = values(given)
    end
    headers["x-forwarded-host"] = headers["host"]
    for _, name in ipairs(ASIDE) do
        headers[name] = nil
    end
    headers["x-forwarded-method"] = { txn.f:method() }
    headers["x-forwarded-uri"] = { txn.f:pathq() }
    headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-forwarded-for"] = { txn.f:src() }
    return headers
end

local function first(headers, name)
    return headers[name] and headers[name][0] or ""
end

local function refuse(txn, response)
    local reply = txn:reply({ status = response.status, body = response.body })
    for _, name in ipairs(PASSED_ON) do
        local value = first(response.headers, name)
        if value ~= "" then
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("usher", { "http-req" }, function(txn)
    local client = core.httpclient()
    local response = client:get({ url = URL, headers = describe(txn), timeout = TIMEOUT })
    if not response or not response.headers or response.status < 200 then
        return -- nobody answered
    end
    if response.status ~= 200 then
        return refuse(txn, response)
    end
    for _, name in ipairs(IDENTITY) do
        local value = first(response.headers, name)
        if value == "" then
            txn.http:req_del_header(name)
        else
            txn.http:req_set_header(name, value)
        end
    end
    txn:set_var("txn.usher", "passed")
end, 0)

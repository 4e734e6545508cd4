-- Asks usher about a request: the actions `lua.usher` and `lua.usher_answered`, for HAProxy 2.6 or newer.
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

-- What tells browsers whose pages may read an answer, usher's or the app's (`cors` in usher.yaml).
local READABLE = {
    "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers", "vary",
}

-- What else usher's own answer says to the client: a no, or the answer to a preflight.
local PASSED_ON = {
    "www-authenticate", "retry-after", "content-type", "cache-control", "allow",
    "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age",
}

-- A header's values, which HAProxy counts from 0.
local function values(given)
    local list = {}
    for place = 0, given and #given or -1 do
        list[#list + 1] = given[place]
    end
    return list
end

-- Whether the client wants a WebSocket.
local function is_websocket(headers)
    for _, value in ipairs(headers["upgrade"] or {}) do
        if value:lower():find("websocket", 1, true) then
            return true
        end
    end
    return false
end

-- The client's headers, and the request in the words of `dialect: haproxy`.
local function describe(txn)
    local headers = {}
    for name, given in pairs(txn.http:req_get_headers()) do
        headers[name] = values(given)
    end
    headers["x-forwarded-host"] = headers["host"]
    if is_websocket(headers) and not headers["sec-websocket-key"] then
        -- It came over HTTP/2, and HAProxy makes a key later. usher knows a WebSocket by it.
        headers["sec-websocket-key"] = { "to-be-made" }
    end
    for _, name in ipairs(ASIDE) do
        headers[name] = nil
    end
    headers["x-forwarded-method"] = { txn.f:method() }
    headers["x-forwarded-uri"] = { txn.f:pathq() }
    local secure = txn.f:ssl_fc() -- 1, or true, as `tune.lua.bool-sample-conversion` says
    headers["x-forwarded-proto"] = { (secure == 1 or secure == true) and "https" or "http" }
    headers["x-forwarded-for"] = { txn.f:src() }
    return headers
end

local function first(headers, name)
    return headers[name] and headers[name][0] or ""
end

local function refuse(txn, response)
    local reply = txn:reply({ status = response.status, body = response.body })
    for _, names in ipairs({ PASSED_ON, READABLE }) do
        for _, name in ipairs(names) do
            for _, value in ipairs(values(response.headers[name])) do
                reply:add_header(name, value)
            end
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
    txn:set_priv(response.headers)
    txn:set_var("txn.usher", "passed")
end, 0)

-- Makes the app's answer readable, where that is usher's business.
core.register_action("usher_answered", { "http-res" }, function(txn)
    local headers = txn:get_priv() or {}
    for _, name in ipairs(READABLE) do
        local value = first(headers, name)
        if value ~= "" and name == "vary" then
            txn.http:res_add_header(name, value)
        elseif value ~= "" then
            txn.http:res_set_header(name, value)
        end
    end
end, 0)

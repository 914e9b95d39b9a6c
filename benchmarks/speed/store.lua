-- An S3 server in nginx, for benchmarks: it lists, serves files, and takes uploads without keeping their bodies.
--
-- One worker, so that all state is in this module. Its ETags are right: of what it serves they are read from an index,
-- of what it takes they are computed. It tells the checksums of whole objects to those who ask, as AWS does: those of
-- what it serves stand in the index, those of what it takes are what the client has sent, unchecked. It checks no
-- signatures. Every request may be held back for a while first, in which nothing is computed: nginx's timers wake it up.

local ffi = require "ffi"
ffi.cdef [[
unsigned char *MD5(const unsigned char *data, size_t size, unsigned char *digest);
int memcmp(const void *one, const void *other, size_t size);
int open(const char *path, int flags);
int close(int descriptor);
void *mmap(void *address, size_t size, int protection, int flags, int descriptor, int64_t offset);
int munmap(void *address, size_t size);
]]

local _M = {}

local buckets = {}     -- name -> {keys, sizes, etags, times, files, sums, meta, added, dirty}
local uploads = {}     -- upload id -> {parts = {number -> {digest, size, sum}}, meta, algorithm, type}
local counts = {}      -- kind of request -> how many
local moved = {received = 0, matched = 0, told = 0}
local known            -- {data, size}: a file that uploads are compared with
local known_parts = {} -- "offset:size" -> MD5
local delay_seconds = 0
local next_upload = 0

local LARGE = 1024 * 1024
local ALGORITHMS = {"crc64nvme", "crc32c", "crc32", "sha1", "sha256"}

local function md5(data)
    local digest = ffi.new("unsigned char[16]")
    ffi.C.MD5(ffi.cast("const unsigned char *", data), #data, digest)
    return ffi.string(digest, 16)
end

local function hex(bytes)
    return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
end

-- The MD5 of a body. A large one that equals the same range of the known file needs no second MD5: the server must not
-- be what an upload waits for, and comparing is ten times as fast.
local function md5_of(body, number)
    if #body < LARGE or not known then return md5(body) end
    for _, offset in ipairs { (number - 1) * #body, known.size - #body } do
        if offset >= 0 and offset + #body <= known.size
            and ffi.C.memcmp(known.data + offset, ffi.cast("const unsigned char *", body), #body) == 0 then
            local name = offset .. ":" .. #body
            known_parts[name] = known_parts[name] or md5(body)
            moved.matched = moved.matched + #body
            return known_parts[name]
        end
    end
    return md5(body)
end

local function new_bucket()
    return {
        keys = {}, sizes = {}, etags = {}, times = {}, files = {}, sums = {}, meta = {}, added = {}, dirty = false,
    }
end

-- Where `key` is, or where it would have to be.
local function lower_bound(keys, key)
    local low, high = 1, #keys + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if keys[middle] < key then low = middle + 1 else high = middle end
    end
    return low
end

local function find(bucket, key)
    local at = lower_bound(bucket.keys, key)
    if bucket.keys[at] == key and bucket.sizes[at] then
        return {
            size = bucket.sizes[at], etag = bucket.etags[at], time = bucket.times[at], file = bucket.files[at],
            sum = bucket.sums[at], meta = bucket.meta[at],
        }
    end
    return bucket.added[key]
end

local function put(bucket, key, object)
    local at = lower_bound(bucket.keys, key)
    if bucket.keys[at] == key then
        bucket.sizes[at], bucket.etags[at], bucket.times[at] = object.size, object.etag, object.time
        bucket.files[at], bucket.sums[at], bucket.meta[at] = false, object.sum, object.meta
    else
        bucket.added[key] = object
        bucket.dirty = true
    end
end

local function remove(bucket, key)
    local at = lower_bound(bucket.keys, key)
    if bucket.keys[at] == key then bucket.sizes[at] = false end
    bucket.added[key] = nil
    bucket.dirty = true
end

-- Brings added and removed keys into order.
local function settle(bucket)
    if not bucket.dirty then return end
    local old, fresh = {}, new_bucket()
    for at, key in ipairs(bucket.keys) do
        if bucket.sizes[at] then old[key] = at; fresh.keys[#fresh.keys + 1] = key end
    end
    for key in pairs(bucket.added) do fresh.keys[#fresh.keys + 1] = key end
    table.sort(fresh.keys)
    for at, key in ipairs(fresh.keys) do
        local from = old[key]
        local object = bucket.added[key]
        fresh.sizes[at] = from and bucket.sizes[from] or object.size
        fresh.etags[at] = from and bucket.etags[from] or object.etag
        fresh.times[at] = from and bucket.times[from] or object.time
        fresh.files[at] = from and bucket.files[from] or false
        fresh.sums[at] = from and bucket.sums[from] or (object and object.sum) or false
        fresh.meta[at] = from and bucket.meta[from] or (object and object.meta) or false
    end
    for name, value in pairs(fresh) do bucket[name] = value end
end

-- Answers

local XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
local NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

local function answer(status, body)
    ngx.status = status
    if body then
        ngx.header["Content-Type"] = "application/xml"
        ngx.header["Content-Length"] = #body
        ngx.print(body)
    else
        ngx.header["Content-Length"] = 0
        ngx.send_headers()
    end
    return ngx.exit(ngx.HTTP_OK)
end

local function refuse(status, code)
    return answer(status, XML_HEAD .. "<Error><Code>" .. code .. "</Code><Message>" .. code .. "</Message></Error>")
end

local function iso_time(seconds)
    return os.date("!%Y-%m-%dT%H:%M:%S.000Z", tonumber(seconds))
end

local function list(name, bucket, arguments)
    settle(bucket)
    local second = arguments["list-type"] == "2"
    local prefix, delimiter = arguments.prefix or "", arguments.delimiter or ""
    local most = math.min(tonumber(arguments["max-keys"]) or 1000, 1000)
    -- A place among the keys, not a number: keys may be deleted from one page to the next.
    local after = second and (arguments["continuation-token"] or arguments["start-after"]) or arguments.marker or ""
    local keys = bucket.keys
    local at
    if after > prefix then
        local is_directory = delimiter ~= "" and after:sub(-1) == delimiter
        at = lower_bound(keys, is_directory and after:sub(1, -2) .. "0" or after .. "\0")
    else
        at = lower_bound(keys, prefix)
    end
    local out, count, last = {}, 0, ""
    local iso = {}
    while count < most do
        local key = keys[at]
        if not key or key:sub(1, #prefix) ~= prefix then break end
        local slash = delimiter ~= "" and key:find(delimiter, #prefix + 1, true)
        if slash then
            last = key:sub(1, slash)
            out[#out + 1] = "<CommonPrefixes><Prefix>" .. last .. "</Prefix></CommonPrefixes>"
            at = lower_bound(keys, key:sub(1, slash - 1) .. "0")
        else
            local time = bucket.times[at]
            iso[time] = iso[time] or iso_time(time)
            last = key
            -- Piece by piece: LuaJIT keeps each string that it makes in a table, and finds those that are so alike only
            -- by comparing them one after the other.
            local n = #out
            out[n + 1], out[n + 2], out[n + 3] = "<Contents><Key>", key, "</Key><LastModified>"
            out[n + 4], out[n + 5], out[n + 6] = iso[time], "</LastModified><ETag>&quot;", bucket.etags[at]
            out[n + 7], out[n + 8] = "&quot;</ETag><Size>", bucket.sizes[at]
            out[n + 9] = "</Size><StorageClass>STANDARD</StorageClass></Contents>"
            at = at + 1
        end
        count = count + 1
    end
    local following = keys[at]
    local truncated = following ~= nil and following:sub(1, #prefix) == prefix
    local head = XML_HEAD .. "<ListBucketResult" .. NAMESPACE .. "><Name>" .. name .. "</Name><Prefix>" .. prefix
        .. "</Prefix><MaxKeys>" .. most .. "</MaxKeys><IsTruncated>" .. tostring(truncated) .. "</IsTruncated>"
    if delimiter ~= "" then head = head .. "<Delimiter>" .. delimiter .. "</Delimiter>" end
    if second then
        head = head .. "<KeyCount>" .. count .. "</KeyCount>"
        if truncated then head = head .. "<NextContinuationToken>" .. last .. "</NextContinuationToken>" end
    elseif truncated then
        head = head .. "<NextMarker>" .. last .. "</NextMarker>"
    end
    return answer(200, head .. table.concat(out) .. "</ListBucketResult>")
end

-- Requests

-- The body, and what follows it if it comes in chunks: headers that were not known before.
local function body_of_request()
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ""
    local path = ngx.req.get_body_file()
    if path then
        local file = assert(io.open(path, "rb"))
        body = file:read("*a")
        file:close()
    end
    local sha256 = ngx.var.http_x_amz_content_sha256 or ""
    if sha256:sub(1, 9) ~= "STREAMING" then return body, "" end
    -- aws-chunked: each chunk begins with its size in hexadecimal digits.
    local chunks, at = {}, 1
    while true do
        local _, line_end, digits = body:find("^(%x+)[^\r\n]*\r\n", at)
        local size = digits and tonumber(digits, 16) or 0
        if size == 0 then return table.concat(chunks), body:sub(at) end
        chunks[#chunks + 1] = body:sub(line_end + 1, line_end + size)
        at = line_end + size + 3
    end
end

local function metadata()
    local found
    for name, value in pairs(ngx.req.get_headers(0)) do
        if name:sub(1, 11) == "x-amz-meta-" then
            found = found or {}
            found[name] = value
        end
    end
    return found or false
end

local function tag(etag) ngx.header["ETag"] = '"' .. etag .. '"' end

-- The checksum that a body was sent with, in a header or after the body: {algorithm, value}, or false.
local function sent_checksum(trailer)
    for _, algorithm in ipairs(ALGORITHMS) do
        local value = ngx.var["http_x_amz_checksum_" .. algorithm]
        if value then return {algorithm = algorithm, value = value} end
    end
    local algorithm, value = trailer:match("x%-amz%-checksum%-(%w+):%s*([^\r\n]+)")
    return algorithm and {algorithm = algorithm, value = value}
end

local function tell(sum, type)
    if not sum then return end
    ngx.header["x-amz-checksum-" .. sum.algorithm] = sum.value
    ngx.header["x-amz-checksum-type"] = type
end

local function take_object(bucket, key)
    if ngx.var.http_x_amz_copy_source then return refuse(501, "NotImplemented") end
    local body, trailer = body_of_request()
    moved.received = moved.received + #body
    local object = {
        size = #body, etag = hex(md5_of(body, 1)), time = ngx.time(), sum = sent_checksum(trailer), meta = metadata(),
    }
    put(bucket, key, object)
    tag(object.etag)
    tell(object.sum, "FULL_OBJECT")
    return answer(200)
end

local function begin_upload(name, key)
    next_upload = next_upload + 1
    local algorithm, type = ngx.var.http_x_amz_checksum_algorithm, ngx.var.http_x_amz_checksum_type
    -- As with AWS: CRC64NVME is always of the whole object, others are unless they are said to be.
    type = algorithm and (type or (algorithm == "CRC64NVME" and "FULL_OBJECT" or "COMPOSITE"))
    uploads[tostring(next_upload)] = {parts = {}, meta = metadata(), algorithm = algorithm, type = type}
    ngx.header["x-amz-checksum-algorithm"] = algorithm
    ngx.header["x-amz-checksum-type"] = type
    return answer(200, XML_HEAD .. "<InitiateMultipartUploadResult" .. NAMESPACE .. "><Bucket>" .. name
        .. "</Bucket><Key>" .. key .. "</Key><UploadId>" .. next_upload
        .. "</UploadId></InitiateMultipartUploadResult>")
end

local function take_part(upload, number)
    local body, trailer = body_of_request()
    moved.received = moved.received + #body
    local part = {digest = md5_of(body, number), size = #body, sum = sent_checksum(trailer)}
    upload.parts[number] = part
    tag(hex(part.digest))
    tell(part.sum)
    return answer(200)
end

local function complete(name, bucket, key, id)
    local upload = uploads[id]
    local digests, size = {}, 0
    for listed in body_of_request():gmatch("<Part>(.-)</Part>") do
        local part = upload.parts[tonumber(listed:match("<PartNumber>(%d+)</PartNumber>"))]
        local checksum = listed:match("<Checksum%w+>([^<]*)</Checksum")
        if not part or (checksum and part.sum and checksum ~= part.sum.value) then return refuse(400, "InvalidPart") end
        digests[#digests + 1] = part.digest
        size = size + part.size
    end
    if #digests == 0 then return refuse(400, "MalformedXML") end
    local etag = hex(md5(table.concat(digests))) .. "-" .. #digests
    -- Those of parts alone would have to be computed.
    local sum = upload.type ~= "COMPOSITE" and sent_checksum("")
    put(bucket, key, {size = size, etag = etag, time = ngx.time(), sum = sum, meta = upload.meta})
    uploads[id] = nil
    local told = ""
    if sum then
        local element = "Checksum" .. sum.algorithm:upper()
        told = "<" .. element .. ">" .. sum.value .. "</" .. element .. "><ChecksumType>FULL_OBJECT</ChecksumType>"
    end
    return answer(200, XML_HEAD .. "<CompleteMultipartUploadResult" .. NAMESPACE .. "><Bucket>" .. name
        .. "</Bucket><Key>" .. key .. "</Key><ETag>&quot;" .. etag .. "&quot;</ETag>" .. told
        .. "</CompleteMultipartUploadResult>")
end

local function delete_many(bucket)
    local deleted = {}
    local body = body_of_request()
    local quiet = body:find("<Quiet>true</Quiet>", 1, true)
    for key in body:gmatch("<Key>(.-)</Key>") do
        remove(bucket, key)
        if not quiet then deleted[#deleted + 1] = "<Deleted><Key>" .. key .. "</Key></Deleted>" end
    end
    return answer(200, XML_HEAD .. "<DeleteResult" .. NAMESPACE .. ">" .. table.concat(deleted) .. "</DeleteResult>")
end

-- GET and HEAD of an object that is a file: nginx goes on and serves it, ranges and conditions included.
local function serve(bucket, key)
    local object = find(bucket, key)
    if not object then return refuse(404, "NoSuchKey") end
    tag(object.etag)
    for name, value in pairs(object.meta or {}) do ngx.header[name] = value end
    -- A checksum of the whole object tells nothing of a range.
    if object.sum and (ngx.var.http_x_amz_checksum_mode or ""):upper() == "ENABLED" and not ngx.var.http_range then
        moved.told = moved.told + 1
        tell(object.sum, "FULL_OBJECT")
    end
    if object.file then
        ngx.req.set_uri(object.file)
        return
    end
    if ngx.req.get_method() ~= "HEAD" then return refuse(501, "BodyNotKept") end
    ngx.header["Last-Modified"] = ngx.http_time(object.time)
    ngx.header["Content-Length"] = object.size
    ngx.send_headers()
    return ngx.exit(ngx.HTTP_OK)
end

local function on_bucket(name, bucket, method, arguments)
    if method == "HEAD" or method == "PUT" then return answer(200) end
    if method == "POST" and arguments.delete then return delete_many(bucket) end
    if method ~= "GET" then return refuse(405, "MethodNotAllowed") end
    if arguments.location then
        return answer(200, XML_HEAD .. "<LocationConstraint" .. NAMESPACE .. "/>")
    end
    if arguments.versioning then
        return answer(200, XML_HEAD .. "<VersioningConfiguration" .. NAMESPACE .. "/>")
    end
    if arguments.uploads then
        return answer(200, XML_HEAD .. "<ListMultipartUploadsResult" .. NAMESPACE .. "/>")
    end
    return list(name, bucket, arguments)
end

local function on_object(name, bucket, key, method, arguments)
    if method == "GET" or method == "HEAD" then return serve(bucket, key) end
    local id = arguments.uploadId
    if id and not uploads[id] then return refuse(404, "NoSuchUpload") end
    if method == "PUT" then
        if id then return take_part(uploads[id], tonumber(arguments.partNumber)) end
        return take_object(bucket, key)
    end
    if method == "POST" and arguments.uploads then return begin_upload(name, key) end
    if method == "POST" and id then return complete(name, bucket, key, id) end
    if method == "DELETE" then
        if id then uploads[id] = nil else remove(bucket, key) end
        return answer(204)
    end
    return refuse(405, "MethodNotAllowed")
end

local function kind_of(method, key, arguments)
    if key == "" then return method == "GET" and "LIST" or (method == "POST" and "DELETE-MANY" or method) end
    if arguments.uploads then return "BEGIN" end
    if arguments.uploadId then return method == "PUT" and "PART" or (method == "POST" and "COMPLETE" or "ABORT") end
    return method
end

local function received()
    local path, query = ngx.var.request_uri:match("^/([^?]*)%??(.*)$")
    local name, key = path:match("^([^/]*)/?(.*)$")
    return name, ngx.unescape_uri(key), ngx.decode_args(query, 0)
end

local function count_and_wait(kind)
    counts[kind] = (counts[kind] or 0) + 1
    if delay_seconds > 0 then ngx.sleep(delay_seconds) end
end

-- What nginx calls

function _M.handle()
    local method = ngx.req.get_method()
    local name, key, arguments = received()
    count_and_wait(kind_of(method, key, arguments))
    local bucket = buckets[name]
    if name == "" then
        return answer(200, XML_HEAD .. "<ListAllMyBucketsResult" .. NAMESPACE .. "><Buckets/></ListAllMyBucketsResult>")
    end
    if not bucket then return refuse(404, "NoSuchBucket") end
    if key == "" then return on_bucket(name, bucket, method, arguments) end
    return on_object(name, bucket, key, method, arguments)
end

-- Before a request goes on to another server.
function _M.pass_on()
    local _, key, arguments = received()
    count_and_wait(kind_of(ngx.req.get_method(), key, arguments))
end

local controls = {}

-- Gives a bucket its content: a line for each object with key, size, ETag, time, CRC64NVME and file, in order of keys.
function controls.bind(arguments)
    local bucket = new_bucket()
    if arguments.index then
        for line in io.lines(arguments.index) do
            local key, size, etag, time, crc64nvme, file = line:match(
                "^([^\t]*)\t(%d+)\t([^\t]*)\t(%d+)\t([^\t]*)\t([^\t]*)$")
            local at = #bucket.keys + 1
            bucket.keys[at], bucket.sizes[at], bucket.etags[at] = key, tonumber(size), etag
            bucket.times[at], bucket.files[at], bucket.meta[at] = tonumber(time), file ~= "" and file, false
            bucket.sums[at] = crc64nvme ~= "" and {algorithm = "crc64nvme", value = crc64nvme}
        end
    end
    buckets[arguments.bucket] = bucket
    collectgarbage()
    return "{}"
end

-- How many requests of each kind, bytes of uploads, and checksums that were told, there were since the last time.
function controls.counts()
    local fields = {}
    for kind, count in pairs(counts) do fields[#fields + 1] = string.format('"%s": %d', kind, count) end
    local found = string.format(
        '{"requests": {%s}, "received_bytes": %.0f, "matched_bytes": %.0f, "told_checksums": %d}',
        table.concat(fields, ", "), moved.received, moved.matched, moved.told)
    counts, moved = {}, {received = 0, matched = 0, told = 0}
    return found
end

-- What a bucket holds, without markers of directories: number and bytes of its objects, an MD5 over all keys and ETags.
function controls.summary(arguments)
    local bucket = buckets[arguments.bucket]
    settle(bucket)
    local lines, size = {}, 0
    for at, key in ipairs(bucket.keys) do
        if key:sub(-1) ~= "/" then
            lines[#lines + 1] = key .. " " .. bucket.etags[at]
            size = size + bucket.sizes[at]
        end
    end
    return string.format(
        '{"objects": %d, "bytes": %.0f, "md5": "%s"}', #lines, size, hex(md5(table.concat(lines, "\n"))))
end

function controls.delay(arguments)
    delay_seconds = tonumber(arguments.seconds)
    return "{}"
end

-- A file that large uploads are expected to equal.
function controls.known(arguments)
    if known then ffi.C.munmap(known.data, known.size) end
    known, known_parts = nil, {}
    if arguments.path then
        local size = tonumber(arguments.size)
        local descriptor = ffi.C.open(arguments.path, 0)
        local data = ffi.C.mmap(nil, size, 1, 1, descriptor, 0)
        ffi.C.close(descriptor)
        known = {data = ffi.cast("unsigned char *", data), size = size}
    end
    return "{}"
end

function _M.control()
    local control = controls[ngx.var.uri:match("[^/]*$")]
    if not control then return ngx.exit(404) end
    ngx.header["Content-Type"] = "application/json"
    ngx.print(control(ngx.req.get_uri_args(0)))
end

return _M

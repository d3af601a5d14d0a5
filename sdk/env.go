package sdk

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// config is Options with the environment and defaults filled in.
type config struct {
	disabled bool
	resource []core.Attr
	members  []string // of baggage, that become attributes
	traces   exporter
	metrics  exporter
	logs     exporter
	sampler  core.Sampler
	remote   *remoteOptions // or nil: the policy of the sampler stays
	limits   core.Limits
	logLimit core.Limits
	delay    time.Duration // of spans
	logDelay time.Duration
	interval time.Duration // of metrics
	log      LogOptions
	observe  bool    // the Go runtime
	memory   float64 // share of the cgroup's memory; 0: none of ours

	idHeaders *idHeaders
	hosts     hosts
	proxies   proxies
	accessLog bool
	labels    bool // of goroutines, for profiles
}

// environment reads variables and collects what is wrong with them: a service
// must start all the same.
type environment struct {
	get  func(string) string
	errs []error
}

func (e *environment) bad(name, want string) {
	e.errs = append(e.errs, fmt.Errorf("environment variable %s is %q: want %s; the default is used", name, e.get(name), want))
}

// text is the first of the variables that is set.
func (e *environment) text(names ...string) (value, name string) {
	for _, n := range names {
		if v := strings.TrimSpace(e.get(n)); v != "" {
			return v, n
		}
	}
	return "", ""
}

func (e *environment) bool(names ...string) bool {
	v, name := e.text(names...)
	switch strings.ToLower(v) {
	case "true":
		return true
	case "false", "":
		return false
	}
	e.bad(name, "true or false")
	return false
}

// off tells whether what is on by default is switched off.
func (e *environment) off(name string) bool {
	v, _ := e.text(name)
	switch strings.ToLower(v) {
	case "off", "false":
		return true
	case "on", "true", "":
		return false
	}
	e.bad(name, "on or off")
	return false
}

// share reads a share above 0 and up to 1.
func (e *environment) share(def float64, name string) float64 {
	v, _ := e.text(name)
	p, err := strconv.ParseFloat(v, 64)
	if err != nil || !(p > 0 && p <= 1) {
		e.bad(name, "a share above 0 and up to 1, or off")
		return def
	}
	return p
}

func (e *environment) count(def int, names ...string) int {
	v, name := e.text(names...)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		e.bad(name, "a number from 0 on")
		return def
	}
	return n
}

// millis reads a time in milliseconds, as all of OpenTelemetry's are.
func (e *environment) millis(def time.Duration, names ...string) time.Duration {
	v, name := e.text(names...)
	if v == "" {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n <= 0 {
		e.bad(name, "milliseconds above 0")
		return def
	}
	return time.Duration(n) * time.Millisecond
}

// pairs reads key1=value1,key2=value2 with percent-encoded values.
func (e *environment) pairs(names ...string) (pairs [][2]string) {
	v, name := e.text(names...)
	for _, item := range strings.Split(v, ",") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		key, value, found := strings.Cut(item, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || key == "" || err != nil {
			// The value may be a secret: it is not told.
			e.errs = append(e.errs, fmt.Errorf("environment variable %s: an item is not of the form key=value; it is left out", name))
			continue
		}
		pairs = append(pairs, [2]string{key, value})
	}
	return pairs
}

// list reads items that commas separate.
func (e *environment) list(name string) (items []string) {
	v, _ := e.text(name)
	for _, item := range strings.Split(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// Where a receiver listens when nothing is said.
const (
	defaultEndpoint     = "http://localhost:4318"
	defaultEndpointGRPC = "http://localhost:4317"
)

// exporter reads how to send a signal: traces, metrics or logs.
func (e *environment) exporter(opts *Options, signal string) exporter {
	const base = "OTEL_EXPORTER_OTLP_"
	own := base + strings.ToUpper(signal) + "_"
	s := exporter{protocol: e.protocol(opts, own, base), signal: signal, none: e.none(signal)}
	s.TLS = e.tls(own, base)
	s.Client, s.Headers, s.Timeout = opts.Client, map[string]string{}, e.millis(0, own+"TIMEOUT", base+"TIMEOUT")
	switch how, name := e.text(own+"COMPRESSION", base+"COMPRESSION"); how {
	case "", "none":
	case "gzip":
		s.Gzip = true
	default:
		e.bad(name, "gzip or none")
	}
	for _, p := range e.pairs(base + "HEADERS") {
		s.Headers[p[0]] = p[1]
	}
	for _, p := range e.pairs(own + "HEADERS") {
		s.Headers[p[0]] = p[1]
	}
	for k, v := range opts.Headers {
		s.Headers[k] = v
	}
	// Of a signal's own endpoint the path is given, to the common one it is
	// added; gRPC has none.
	def, path := defaultEndpoint, "/v1/"+signal
	if s.protocol == protocolGRPC {
		def, path = defaultEndpointGRPC, ""
	}
	s.URL, _ = e.text(own + "ENDPOINT")
	if opts.Endpoint != "" || s.URL == "" {
		common, _ := e.text(base + "ENDPOINT")
		if common == "" {
			common = def
		}
		if opts.Endpoint != "" {
			common = opts.Endpoint
		}
		s.URL = strings.TrimRight(common, "/") + path
	}
	if s.protocol == protocolGRPC && !strings.Contains(s.URL, "://") {
		scheme := "https://"
		if e.bool(own+"INSECURE", base+"INSECURE") {
			scheme = "http://"
		}
		s.URL = scheme + s.URL
	}
	return s
}

func (e *environment) protocol(opts *Options, own, base string) string {
	name, from := opts.Protocol, "Options.Protocol"
	if name == "" {
		name, from = e.text(own+"PROTOCOL", base+"PROTOCOL")
	}
	switch name {
	case "", protocolHTTP:
	case protocolGRPC:
		return protocolGRPC
	default:
		e.errs = append(e.errs, fmt.Errorf("%s is %q: want %s or %s; %[3]s is used", from, name, protocolHTTP, protocolGRPC))
	}
	return protocolHTTP
}

// sampler reads which traces are kept of those that begin here.
func (e *environment) sampler() core.Sampler {
	const name, arg = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	kind, _ := e.text(name)
	switch strings.TrimPrefix(kind, "parentbased_") {
	case "":
		return core.NewAdaptive(core.Policy{}, time.Now())
	case "always_on":
		return core.NewByThreshold(1)
	case "always_off":
		return core.Never{ByParent: kind != "always_off"}
	case "traceidratio":
		v, _ := e.text(arg)
		p, err := strconv.ParseFloat(v, 64)
		if err != nil || !(p >= 0 && p <= 1) {
			e.bad(arg, "a share from 0 to 1")
			p = 1
		}
		return core.NewByThreshold(p)
	}
	e.bad(name, "always_on, always_off, traceidratio or jaeger_remote, with or without parentbased_ before it, or nothing for a share that follows the traffic")
	return core.NewAdaptive(core.Policy{}, time.Now())
}

// serviceName is what a service that does not say its name is called.
func serviceName() string {
	exe, err := os.Executable()
	if err != nil {
		return "unknown_service:go"
	}
	return "unknown_service:" + exe[strings.LastIndexAny(exe, `/\`)+1:]
}

func (e *environment) resource(opts *Options) []core.Attr {
	all := []core.Attr{
		core.String("service.name", serviceName()),
		core.String("service.instance.id", core.NewTraceID().String()),
		core.String("telemetry.sdk.name", "guanlan"),
		core.String("telemetry.sdk.language", "go"),
		core.String("telemetry.sdk.version", Version),
		core.Int("process.pid", int64(os.Getpid())),
	}
	if host, err := os.Hostname(); err == nil {
		all = append(all, core.String("host.name", host))
	}
	for _, p := range e.pairs("OTEL_RESOURCE_ATTRIBUTES") {
		all = append(all, core.String(p[0], p[1]))
	}
	if name, _ := e.text("OTEL_SERVICE_NAME"); name != "" {
		all = append(all, core.String("service.name", name))
	}
	all = appendAttrs(all, opts.Resource)
	if opts.ServiceName != "" {
		all = append(all, core.String("service.name", opts.ServiceName))
	}
	return all
}

// configure fills in options. The error says what of the environment could not
// be used; the config holds in any case.
func configure(opts Options, get func(string) string) (*config, error) {
	e := &environment{get: get}
	c := &config{
		disabled: e.bool("OTEL_SDK_DISABLED"),
		resource: e.resource(&opts),
		traces:   e.exporter(&opts, "traces"),
		metrics:  e.exporter(&opts, "metrics"),
		logs:     e.exporter(&opts, "logs"),
		sampler:  opts.Sampler,
		members:  opts.Baggage,
		limits: core.Limits{
			Attributes:      e.count(core.DefaultLimits.Attributes, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
			Events:          e.count(core.DefaultLimits.Events, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
			Links:           e.count(core.DefaultLimits.Links, "OTEL_SPAN_LINK_COUNT_LIMIT"),
			EventAttributes: e.count(core.DefaultLimits.EventAttributes, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"),
			LinkAttributes:  e.count(core.DefaultLimits.LinkAttributes, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"),
			ValueLength:     e.count(core.DefaultLimits.ValueLength, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
		},
		logLimit: core.Limits{
			Attributes:  e.count(core.DefaultLimits.Attributes, "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
			ValueLength: e.count(core.DefaultLimits.ValueLength, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
		},
		delay:    e.millis(time.Second, "OTEL_BSP_SCHEDULE_DELAY"),
		logDelay: e.millis(time.Second, "OTEL_BLRP_SCHEDULE_DELAY"),
		interval: e.millis(15*time.Second, "OTEL_METRIC_EXPORT_INTERVAL"),
		log:      e.log(opts.Log),
		observe:  !opts.NoRuntime && !e.off("GUANLAN_RUNTIME_OBSERVER"),
		memory:   e.memoryRatio(),

		idHeaders: e.idHeaders(&opts.IDs), hosts: e.hosts(&opts.IDs), proxies: e.proxies(&opts.HTTP),
		accessLog: opts.HTTP.AccessLog || e.bool("GUANLAN_ACCESS_LOG"),
		labels:    opts.ProfileLabels || e.bool("GUANLAN_PROFILE_LABELS"),
	}
	c.observe = c.observe && !c.metrics.none
	if c.sampler == nil {
		if remote, adaptive := e.remoteSampling(&opts, c); adaptive != nil {
			c.remote, c.sampler = remote, adaptive
		} else {
			c.sampler = e.sampler()
		}
	}
	if c.members == nil {
		c.members = e.list("GUANLAN_BAGGAGE_ATTRIBUTES")
	}
	return c, errors.Join(e.errs...)
}

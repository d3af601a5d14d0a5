// Package api is the HTTP face of Guanlan: its own JSON API, described by an
// OpenAPI document, the doors that other tools knock on (Prometheus, Jaeger,
// LogsQL), and the server that carries them and the web UI.
//
// Questions are answered by query.Engine, whose results are the wire types. A
// route here only reads parameters and names errors.
package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/guanlan-io/guanlan/internal/query"
)

// Prefix is where the JSON API lives.
const Prefix = "/guanlan/v1"

// Options are what the JSON API needs. Engine must be set.
type Options struct {
	Engine query.Engine
	// Status answers /status; nil answers 404.
	Status StatusSource
	// Policies are the sampling policies; nil answers 404.
	Policies Policies
	// Profiles answers what is below ProfilesPath; nil answers 404.
	Profiles query.Profiler
	// Now is the clock that relative times refer to; nil means time.Now.
	Now func() time.Time
	// Logger takes what clients cannot be told; nil means slog.Default().
	Logger *slog.Logger

	uploads *uploads // nil: newUploads()
}

// door is the JSON API with what its routes share.
type door struct {
	engine   query.Engine
	status   StatusSource
	rules    Policies
	profiles query.Profiler
	uploads  *uploads // of profiles
	now      func() time.Time
	log      *slog.Logger
	api      huma.API
	mux      *http.ServeMux
}

// New returns the handler of everything below Prefix, ProfilesPath and KernelPath. The tenant is the one in
// the request's context, where Server puts it. Safe for concurrent use.
func New(o Options) http.Handler {
	mux, _ := newMux(o)
	return mux
}

func newMux(o Options) (*http.ServeMux, []byte) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.uploads == nil {
		o.uploads = newUploads()
	}
	mux := http.NewServeMux()
	d := &door{engine: o.Engine, status: o.Status, rules: o.Policies, profiles: o.Profiles, uploads: o.uploads, now: o.Now, log: o.Logger, mux: mux}
	d.api = humago.New(mux, config())
	d.api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		ctx.SetHeader("Cache-Control", "no-store")
		next(ctx)
	})
	d.routes()
	document := openAPI(d.api)
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(document))
	mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache") // ask each time whether it changed
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(document))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "no route "+r.Method+" "+r.URL.Path+"; "+Prefix+"/openapi.json lists them")
	})
	return mux, document
}

func config() huma.Config {
	c := huma.DefaultConfig("Guanlan", "1")
	c.Info.Description = description
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.Tags = []*huma.Tag{
		{Name: "services", Description: "Services, their health and who calls whom."},
		{Name: "traces", Description: "Traces and spans."},
		{Name: "logs", Description: "Log records."},
		{Name: "kernel", Description: "What the kernels of the hosts saw: the network, the audit, kills for want of memory."},
		{Name: "profiles", Description: "Where CPU time, memory and waiting go, by stack."},
		{Name: "fields", Description: "Names and values for completion."},
		{Name: "sampling", Description: "Which share of traces services keep. Clients ask for theirs at `/sampling`, by Jaeger's protocol."},
		{Name: "system", Description: "Guanlan itself."},
	}
	// The document is served by newMux; pages that load scripts from other
	// hosts and $schema members in results are not wanted.
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil
	c.RejectUnknownQueryParameters = true
	return c
}

const description = `Reads of services, traces, logs and profiles, and the sampling policies that services follow.

**Times.** ` + "`start`" + ` and ` + "`end`" + ` take RFC 3339 (` + "`2026-01-02T15:04:05Z`" + `), Unix time in seconds, milliseconds,
microseconds or nanoseconds (told apart by size), or a time relative to now (` + "`now`, `now-15m`, `now-1d`" + `). ` + "`start`" + `
is inclusive, ` + "`end`" + ` exclusive; the default is the last hour.

**Filters.** Conditions joined by ` + "`and`" + `, comma or space: ` + "`service.name = order and duration > 200ms and status = error`" + `.
Operators: ` + "`= != =~ !~ < <= > >= exists`" + `. A bare word or a quoted phrase searches the text.

**Tenants.** The header ` + "`X-Scope-OrgID`" + ` names the tenant as ` + "`ACCOUNT`" + ` or ` + "`ACCOUNT:PROJECT`" + `; without it, 0.

**Errors** are ` + "`application/problem+json`" + ` (RFC 9457): ` + "`errors[].location`" + ` names the parameter, ` + "`errors[].message`" + ` says what
is wrong and what to write instead.`

// openAPI renders the document of a, indented, with a final newline.
func openAPI(a huma.API) []byte {
	raw, err := json.Marshal(a.OpenAPI())
	var b bytes.Buffer
	if err == nil {
		err = json.Indent(&b, raw, "", "  ")
	}
	if err != nil {
		panic("BUG: OpenAPI document: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// result is a huma output with only a body.
type result[T any] struct {
	Body *T
}

// op describes a GET route.
type op struct {
	id, path, tag, summary, doc string
}

// get registers f at Prefix+o.path. Errors of f become problems.
func get[I, T any](d *door, o op, f func(context.Context, *I) (*T, error)) {
	o.path = Prefix + o.path
	getAt(d, o, f)
}

// getAt is get at o.path itself.
func getAt[I, T any](d *door, o op, f func(context.Context, *I) (*T, error)) {
	huma.Register(d.api, huma.Operation{
		OperationID: o.id,
		Method:      http.MethodGet,
		Path:        o.path,
		Tags:        []string{o.tag},
		Summary:     o.summary,
		Description: o.doc,
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}, func(ctx context.Context, in *I) (*result[T], error) {
		v, err := f(ctx, in)
		if err != nil {
			return nil, d.problem(ctx, err)
		}
		return &result[T]{Body: v}, nil
	})
}

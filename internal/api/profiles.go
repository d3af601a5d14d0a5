package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

// ProfilesPath is where profiles are taken and given: an address that stands in
// `go tool pprof` commands and in the configuration of agents.
const ProfilesPath = "/api/v1/profiles"

// maxProfileBody bounds an uploaded profile as it is sent, compressed or not:
// a heap profile of a large service is some megabytes.
const maxProfileBody = 32 << 20

// maxUploads is how many profiles are read at a time: a profile unpacked takes
// some hundred megabytes at worst.
const maxUploads = 4

// ProfileWindow is the time range and filter of a question about profiles.
type ProfileWindow struct {
	Tenant
	From   string `query:"from" doc:"Inclusive: RFC 3339, Unix s/ms/µs/ns, or relative. Default: one hour before to." example:"now-1h"`
	To     string `query:"to" doc:"Exclusive, same forms. Default: now." example:"now"`
	Filter string `query:"filter" maxLength:"16384" doc:"Conditions on resource attributes and on labels of samples, in the filter grammar; a bare word must stand in a function of the stack; empty matches all." example:"service.name = order and service.version = 1.2"`
}

func (w ProfileWindow) window(now time.Time) (query.Window, error) {
	return windowOf("from", w.From, "to", w.To, w.Filter, now)
}

func windowOf(fromName, from, toName, to, filter string, now time.Time) (w query.Window, err error) {
	w.Filter = filter
	if w.End, err = moment(toName, to, now); err != nil {
		return w, err
	}
	if w.End.IsZero() {
		w.End = now
	}
	if w.Start, err = moment(fromName, from, now); err != nil {
		return w, err
	}
	if w.Start.IsZero() {
		w.Start = w.End.Add(-defaultWindow)
	}
	if !w.Start.Before(w.End) {
		err = &query.FieldError{Field: fromName, Value: from, Msg: "not before " + toName, Next: fromName + " is inclusive, " + toName + " exclusive; both default to the last hour"}
	}
	return w, err
}

type profilesInput struct{ ProfileWindow }

// ProfileType chooses what is measured.
type ProfileType struct {
	Type string `query:"type" maxLength:"256" default:"cpu" doc:"Type of profile, as the list tells." example:"cpu"`
}

type mergeInput struct {
	ProfileWindow
	ProfileType
	Seconds int `query:"seconds" minimum:"0" maximum:"31622400" doc:"Instead of from: so many seconds before to. go tool pprof -seconds sends it."`
}

type flameInput struct {
	ProfileWindow
	ProfileType
	BaseFrom   string `query:"base_from" doc:"Start of the profiles to compare with, in the forms of from. Default with another base parameter: from." example:"now-2h"`
	BaseTo     string `query:"base_to" doc:"End of the profiles to compare with. Default: to." example:"now-1h"`
	BaseFilter string `query:"base_filter" maxLength:"16384" doc:"Filter of the profiles to compare with. Default: filter, when base_from or base_to is given." example:"service.name = order and service.version = 1.1"`
}

// base is the window to compare with, nil when none of its parameters is given.
func (in *flameInput) base(w query.Window, now time.Time) (*query.Window, error) {
	if in.BaseFrom == "" && in.BaseTo == "" && in.BaseFilter == "" {
		return nil, nil
	}
	from, to, filter := in.BaseFrom, in.BaseTo, in.BaseFilter
	if from == "" {
		from = w.Start.Format(time.RFC3339Nano)
	}
	if to == "" {
		to = w.End.Format(time.RFC3339Nano)
	}
	if filter == "" {
		filter = in.Filter
	}
	b, err := windowOf("base_from", from, "base_to", to, filter, now)
	return &b, err
}

func (d *door) profileRoutes() {
	getAt(d, op{"listProfiles", ProfilesPath, "profiles", "List profiles",
		"What has profiles in the window, by service and type."},
		func(ctx context.Context, in *profilesInput) (*query.ProfileList, error) {
			w, err := in.window(d.now())
			if err != nil {
				return nil, err
			}
			p, err := d.profiler()
			if err != nil {
				return nil, err
			}
			return p.Profiles(ctx, w)
		})
	getAt(d, op{"getFlame", ProfilesPath + "/flame", "profiles", "Show profiles as a flame graph",
		fmt.Sprintf("Matching profiles added up to a tree of calls, at most %d of them. With a base, the same tree has the values of other profiles beside.", query.MaxFlameNodes)},
		func(ctx context.Context, in *flameInput) (*query.Flame, error) {
			now := d.now()
			w, err := in.window(now)
			if err != nil {
				return nil, err
			}
			base, err := in.base(w, now)
			if err != nil {
				return nil, err
			}
			p, err := d.profiler()
			if err != nil {
				return nil, err
			}
			return p.Flame(ctx, w, in.Type, base)
		})
	d.mergeRoute()
	d.addRoute()
}

func (d *door) profiler() (query.Profiler, error) {
	if d.profiles == nil {
		return nil, huma.Error404NotFound("this process keeps no profiles")
	}
	return d.profiles, nil
}

// pprofType is what net/http/pprof answers with.
const pprofType = "application/octet-stream"

type mergeOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Disposition string `header:"Content-Disposition" hidden:"true"`
	Body        []byte
}

func (d *door) mergeRoute() {
	huma.Register(d.api, huma.Operation{
		OperationID: "mergeProfiles", Method: http.MethodGet, Path: ProfilesPath + "/merge", Tags: []string{"profiles"},
		Summary:     "Give profiles to pprof",
		Description: "Matching profiles added up to one (averaged, where they are the state of a moment: heap, goroutine, threadcreate), in the format of pprof, compressed by gzip: `go tool pprof` takes this address as its argument.",
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
		Responses: map[string]*huma.Response{"200": {
			Description: "A profile.",
			Content:     map[string]*huma.MediaType{pprofType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}},
	}, func(ctx context.Context, in *mergeInput) (*mergeOutput, error) {
		w, err := in.window(d.now())
		if err != nil {
			return nil, d.problem(ctx, err)
		}
		if in.Seconds > 0 {
			w.Start = w.End.Add(-time.Duration(in.Seconds) * time.Second)
		}
		p, err := d.profiler()
		if err != nil {
			return nil, err
		}
		merged, err := p.Merge(ctx, w, in.Type)
		if err != nil {
			return nil, d.problem(ctx, err)
		}
		var out bytes.Buffer
		if err := merged.Write(&out); err != nil {
			return nil, d.problem(ctx, fmt.Errorf("write the profile: %w", err))
		}
		return &mergeOutput{ContentType: pprofType, Disposition: `attachment; filename="` + plainName(in.Type) + `.pb.gz"`, Body: out.Bytes()}, nil
	})
}

// plainName leaves in a file name what needs no quoting.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

// addRoute takes profiles. Its parameters are named by the sender, which
// routes of huma cannot have, so that it only describes this one.
func (d *door) addRoute() {
	document := d.api.OpenAPI()
	added := document.Components.Schemas.Schema(reflect.TypeFor[query.ProfileAdded](), true, "")
	problem := document.Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")
	text := &huma.Schema{Type: huma.TypeString}
	o := &huma.Operation{
		OperationID: "addProfile", Method: http.MethodPost, Path: ProfilesPath, Tags: []string{"profiles"},
		Summary:     "Add a profile",
		Description: fmt.Sprintf("Keeps a profile in the format of pprof, compressed by gzip or not, at most %d MiB. It is on the disk when the answer is 200. Further parameters are attributes of the resource: `?service.name=order&service.version=1.2`.", maxProfileBody>>20),
		Parameters: []*huma.Param{
			{Name: "type", In: "query", Schema: text, Description: "What is measured. Default: guessed from the types of the profile's values.", Example: "heap"},
			{Name: "service.name", In: "query", Schema: text, Description: "The service that was measured; so any other attribute of the resource.", Example: "order"},
			{Name: "X-Scope-OrgID", In: "header", Schema: text, Description: "Whose data: ACCOUNT or ACCOUNT:PROJECT; default 0.", Example: "12:3"},
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			pprofType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
		Responses: map[string]*huma.Response{
			"200":     {Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: added}}},
			"default": {Description: "Error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}},
		},
	}
	document.AddOperation(o)
	d.mux.HandleFunc("POST "+ProfilesPath, d.addProfile)
}

func (d *door) addProfile(w http.ResponseWriter, r *http.Request) {
	added, err := d.takeProfile(w, r)
	if err != nil {
		refuse(w, d.problem(r.Context(), err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(added) // a broken connection is all that can fail now
}

// refuse writes a problem as huma would.
func refuse(w http.ResponseWriter, problem error) {
	var headers huma.HeadersError
	if errors.As(problem, &headers) {
		for k, v := range headers.GetHeaders() {
			w.Header()[k] = v
		}
	}
	var m *huma.ErrorModel
	if !errors.As(problem, &m) {
		panic("BUG: a problem of another form: " + problem.Error())
	}
	writeProblem(w, m.Status, m.Detail, m.Errors...)
}

func (d *door) takeProfile(w http.ResponseWriter, r *http.Request) (*query.ProfileAdded, error) {
	p, err := d.profiler()
	if err != nil {
		return nil, err
	}
	select {
	case d.uploads <- struct{}{}:
		defer func() { <-d.uploads }()
	default:
		return nil, fmt.Errorf("%d profiles are being read: %w", maxUploads, store.ErrUnavailable)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("the parameters cannot be read: " + err.Error())
	}
	kind, resource := values.Get("type"), map[string]string{}
	for k, v := range values {
		if k == "type" {
			continue
		}
		if len(v) != 1 {
			return nil, &query.FieldError{Field: k, Value: strings.Join(v, ","), Msg: "given more than once", Next: "an attribute has one value"}
		}
		resource[k] = v[0]
	}
	added, err := p.Add(r.Context(), http.MaxBytesReader(w, r.Body, maxProfileBody), kind, resource)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, huma.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the profile has more than %d MiB; shorten it, or compress it by gzip", maxProfileBody>>20))
	}
	return added, err
}

package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guanlan-io/guanlan/internal/query"
)

// ProfilesPath is where profiles are taken and given: an address that stands in
// `go tool pprof` commands and in the configuration of agents.
const ProfilesPath = "/api/v1/profiles"

// ProfileWindow is the time range and filter of a question about profiles.
type ProfileWindow struct {
	Span
	Filter string `query:"filter" maxLength:"16384" doc:"Conditions on resource attributes and on labels of samples, in the filter grammar; a bare word must stand in a function of the stack; empty matches all." example:"service.name = order and service.version = 1.2"`
}

func (w ProfileWindow) window(now time.Time) (query.Window, error) {
	return w.Span.window(w.Filter, now)
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
	BaseFilter string `query:"base_filter" maxLength:"16384" doc:"Filter of the profiles to compare with; * compares with all of them, whatever filter says. Default: filter, when base_from or base_to is given." example:"service.name = order and service.version = 1.1"`
}

// allProfiles as base_filter says that there is no condition; an empty one is a
// parameter that was not given. Quoted, it is a text to search for.
const allProfiles = "*"

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
	switch filter {
	case "":
		filter = in.Filter
	case allProfiles:
		filter = ""
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
		var out bytes.Buffer
		if err := p.Merge(ctx, w, in.Type, &out); err != nil {
			return nil, d.problem(ctx, err)
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

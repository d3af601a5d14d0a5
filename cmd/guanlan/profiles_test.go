package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/query"
)

// oneStack is a profile with one sample of value 1.
func oneStack(way string) *profile.Profile {
	f := &profile.Function{ID: 1, Name: "main.work"}
	l := &profile.Location{ID: 1, Line: []profile.Line{{Function: f, Line: 7}}}
	return &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "goroutine", Unit: "count"}}, TimeNanos: time.Now().UnixNano(),
		Function: []*profile.Function{f}, Location: []*profile.Location{l},
		Sample: []*profile.Sample{{Location: []*profile.Location{l}, Value: []int64{1}, Label: map[string][]string{"way": {way}}}},
	}
}

// TestUpTakesProfiles sends profiles through every door and finds them again,
// also after the process was killed.
func TestUpTakesProfiles(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	resource := map[string]string{"service.name": "doors"}
	request := func(way string) pprofileotlp.ExportRequest {
		return pprofileotlp.NewExportRequestFromProfiles(pprofile.FromPprof(oneStack(way), resource, ""))
	}
	ways := 0
	for _, encoding := range []string{"", "gzip", "zstd"} {
		var opts []grpc.DialOption
		if encoding != "" {
			opts = append(opts, grpc.WithDefaultCallOptions(grpc.UseCompressor(encoding)))
		}
		if _, err := pprofileotlp.NewGRPCClient(p.dial(t, opts...)).Export(t.Context(), request("grpc "+encoding)); err != nil {
			t.Errorf("over gRPC %s: %v", encoding, err)
		}
		ways++
		for _, format := range []string{protobuf, jsonType} {
			r := request(format + encoding)
			marshal := r.MarshalProto
			if format == jsonType {
				marshal = r.MarshalJSON
			}
			body, err := marshal()
			if err != nil {
				t.Fatal(err)
			}
			res, text, err := p.post("profiles", format, encoding, "", bytes.NewReader(encodings[encoding](body)))
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("as %s %s: %v %v %s", format, encoding, res, err, text)
			}
			ways++
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-scope-orgid", "7")
	if _, err := pprofileotlp.NewGRPCClient(p.dial(t)).Export(ctx, request("tenant")); err != nil {
		t.Errorf("of a tenant: %v", err)
	}
	var zipped, plain bytes.Buffer
	if err := errors.Join(oneStack("pprof").Write(&zipped), oneStack("plain pprof").WriteUncompressed(&plain)); err != nil {
		t.Fatal(err)
	}
	for _, body := range []*bytes.Buffer{&zipped, &plain} {
		res, err := http.Post(p.api+"/api/v1/profiles?service.name=doors", "application/octet-stream", body)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != http.StatusOK {
			t.Errorf("upload: %s", res.Status)
		}
		ways++
	}
	check := func() error {
		for tenant, want := range map[string]int{"": ways, "7": 1, "8": 0} {
			var list query.ProfileList
			if err := p.get(tenant, "/api/v1/profiles", url.Values{"filter": {"service.name = doors"}}, &list); err != nil {
				return err
			}
			got := 0
			for _, s := range list.Series {
				if s.Service == "doors" && s.Type == "goroutine" && s.Total == int64(s.Profiles) {
					got += s.Profiles
				}
			}
			if got != want {
				return fmt.Errorf("tenant %q has %d profiles, want %d: %+v", tenant, got, want, list)
			}
		}
		return nil
	}
	if err := check(); err != nil { // what was acknowledged can be seen
		t.Error(err)
	}
	p.kill()
	p = start(t, dir)
	if err := check(); err != nil {
		t.Error("after a kill:", err)
	}
	var f query.Flame
	if err := p.get("", "/api/v1/profiles/flame", url.Values{"type": {"goroutine"}, "filter": {"way =~ pprof"}}, &f); err != nil || f.Total != 2 {
		t.Errorf("flame graph of the uploads: %+v, %v", f, err)
	}
}

// TestUpPassesProfilesOn sends profiles to one Guanlan, whose pipeline has
// another behind it.
func TestUpPassesProfilesOn(t *testing.T) {
	to := start(t, t.TempDir())
	from := start(t, t.TempDir(),
		"--config", "guanlan:default",
		"--set", "exporters::otlp_grpc::endpoint="+to.grpc,
		"--set", "exporters::otlp_grpc::tls::insecure=true",
		"--set", "exporters::otlp_http::endpoint="+to.http,
		"--set", "service::pipelines::profiles::exporters=[otlp_grpc, otlp_http]")
	r := pprofileotlp.NewExportRequestFromProfiles(pprofile.FromPprof(oneStack("passed on"), map[string]string{"service.name": "far"}, ""))
	if _, err := pprofileotlp.NewGRPCClient(from.dial(t)).Export(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	eventually(t, "profiles", func() error {
		var f query.Flame
		err := to.get("", "/api/v1/profiles/flame", url.Values{"type": {"goroutine"}, "filter": {"service.name = far"}}, &f)
		if err == nil && f.Total != 2 { // by both exporters
			err = fmt.Errorf("got %+v", f)
		}
		return err
	})
}

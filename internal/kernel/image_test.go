//go:build linux

package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestImagesOfRuntimes(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := func(c string) string { return strings.Repeat(c, 64) }
	write("var/lib/docker/containers/"+id("a")+"/config.v2.json", `{"Name":"/web","Config":{"Image":"nginx:1.29"}}`)
	write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id("b")+"/config.json",
		`{"annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.image-name":"shop/cart:2"}}`)
	write("run/containers/storage/overlay-containers/"+id("c")+"/userdata/config.json",
		`{"annotations":{"io.kubernetes.container.name":"pay","io.kubernetes.cri-o.ImageName":"shop/pay:3"}}`)
	write("var/lib/containers/storage/overlay-containers/containers.json",
		`[{"id":"`+id("d")+`","metadata":"{\"image-name\":\"alpine:3\",\"name\":\"box\"}"}]`)
	write("var/lib/docker/containers/"+id("e")+"/config.v2.json", `{"Name":`)
	now := time.Now()
	m := newImages(root)
	for _, tt := range []struct {
		id   string
		want ContainerInfo
	}{
		{id("a"), ContainerInfo{"web", "nginx:1.29"}}, {id("b"), ContainerInfo{"cart", "shop/cart:2"}}, {id("c"), ContainerInfo{"pay", "shop/pay:3"}},
		{id("d"), ContainerInfo{"box", "alpine:3"}}, {id("e"), ContainerInfo{}}, {"", ContainerInfo{}},
	} {
		if got := m.of(tt.id, now); got != tt.want {
			t.Errorf("of(%.3s…) = %+v, want %+v", tt.id, got, tt.want)
		}
	}
	// Files that come late are found late, and not looked for at each event.
	write("var/lib/docker/containers/"+id("f")+"x", "")
	if got := m.of(id("f"), now); got != (ContainerInfo{}) {
		t.Errorf("got %+v", got)
	}
	write("var/lib/docker/containers/"+id("f")+"/config.v2.json", `{"Name":"/late","Config":{"Image":"late:1"}}`)
	if got := m.of(id("f"), now.Add(imageAgain/2)); got != (ContainerInfo{}) {
		t.Errorf("looked again too soon: %+v", got)
	}
	if got := m.of(id("f"), now.Add(2*imageAgain)); got.Image != "late:1" {
		t.Errorf("late file: %+v", got)
	}
}

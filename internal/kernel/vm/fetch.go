//go:build linux

package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// keyring is where Debian's package of that name has the keys of all its releases.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Fetch has the kernel that a release of Debian installs by default for an
// architecture: from the cache below dir, else by apt, from where this machine's
// own packages come. apt runs with lists and a cache of its own, needs no root, and
// verifies signatures down to the package.
func Fetch(ctx context.Context, dir, name, suite, arch string) (Kernel, error) {
	home := filepath.Join(dir, suite+"-"+arch)
	if k, err := unpacked(home, name, arch); err == nil {
		return k, nil
	}
	newest := func(a *apt) (string, error) {
		meta, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", "linux-image-"+arch)
		if err != nil {
			return "", err
		}
		return newestImage(meta)
	}
	if err := fetch(ctx, dir, home, suite, arch, newest, wanted); err != nil {
		return Kernel{}, fmt.Errorf("fetch the kernel of Debian %s for %s: %w", suite, arch, err)
	}
	return unpacked(home, name, arch)
}

// Loaders are where programs that are built as PIE name the loader that relocates them.
var Loaders = map[string]string{"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}

// loaderSuite is the release of Debian whose loader all guests of other architectures have; it
// runs on all kernels.
const loaderSuite = "bookworm"

// FetchLoader has that loader as Fetch has a kernel: this machine's own, if it is of the
// architecture and has one.
func FetchLoader(ctx context.Context, dir, arch string) (string, error) {
	if own := Loaders[arch]; arch == runtime.GOARCH && isFile(own) {
		return own, nil
	}
	base := filepath.Base(Loaders[arch])
	home := filepath.Join(dir, loaderSuite+"-"+arch+"-loader")
	at := func() (string, error) {
		found, err := filepath.Glob(filepath.Join(home, "lib/*", base))
		if err != nil || len(found) != 1 {
			return "", fmt.Errorf("find %s in %q: %d files", base, home, len(found))
		}
		return found[0], nil
	}
	if file, err := at(); err == nil {
		return file, nil
	}
	libc := func(*apt) (string, error) { return "libc6", nil }
	if err := fetch(ctx, dir, home, loaderSuite, arch, libc, func(name string) bool { return filepath.Base(name) == base }); err != nil {
		return "", fmt.Errorf("fetch the loader of Debian %s for %s: %w", loaderSuite, arch, err)
	}
	return at()
}

func isFile(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Mode().IsRegular()
}

// fetch unpacks what is wanted of a package as home.
func fetch(ctx context.Context, dir, home, suite, arch string, pkg func(*apt) (string, error), wanted func(name string) bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Beside home, so that it becomes home by its name, whole or not at all.
	work, err := os.MkdirTemp(dir, "fetch")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, work, suite, arch)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return err
	}
	name, err := pkg(a)
	if err != nil {
		return err
	}
	if _, err := a.run(ctx, "apt-get", "download", name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download %s: %d packages", name, len(debs))
	}
	to := filepath.Join(work, "unpacked")
	if err := unpack(ctx, debs[0], to, wanted); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	return os.Rename(to, home)
}

// newestImage reads which package of a kernel the package that stands for the newest one wants.
func newestImage(control []byte) (string, error) {
	for line := range strings.Lines(string(control)) {
		if list, ok := strings.CutPrefix(line, "Depends: "); ok {
			for one := range strings.SplitSeq(list, ",") {
				if name, _, _ := strings.Cut(strings.TrimSpace(one), " "); strings.HasPrefix(name, "linux-image-") {
					return name, nil
				}
			}
		}
	}
	return "", errors.New("read what linux-image depends on: no kernel")
}

// apt is apt with everything that it writes in a folder of its own.
type apt struct {
	dir     string
	options []string
}

func newApt(ctx context.Context, dir, suite, arch string) (*apt, error) {
	if _, err := os.Stat(keyring); err != nil {
		return nil, fmt.Errorf("find Debian's keys: %w", err)
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(CREATED_BY) $(ORIGIN) $(CODENAME) $(REPO_URI)").Output()
	if err != nil {
		return nil, fmt.Errorf("ask apt where its packages come from: %w", err)
	}
	uri, err := archiveURI(string(out))
	if err != nil {
		return nil, err
	}
	source := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", arch, keyring, uri, suite)
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"sources.list": source, "state/status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	for _, o := range []string{
		"Dir::Etc::SourceList=" + filepath.Join(dir, "sources.list"), "Dir::Etc::SourceParts=-",
		"Dir::State=" + filepath.Join(dir, "state"), "Dir::State::Status=" + filepath.Join(dir, "state/status"),
		"Dir::Cache=" + filepath.Join(dir, "cache"),
		"APT::Architecture=" + arch, "APT::Architectures=" + arch,
		"APT::Sandbox::User=" + me.Username, // no other user may write here
		"Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
	} {
		a.options = append(a.options, "-o", o)
	}
	return a, nil
}

// archiveURI picks, of what apt-get indextargets lists, the archive that has
// Debian's releases themselves.
func archiveURI(targets string) (string, error) {
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) == 4 && f[0] == "Packages" && f[1] == "Debian" && !strings.Contains(f[2], "-") {
			return f[3], nil
		}
	}
	return "", errors.New("find the archive that apt installs Debian from: none")
}

func (a *apt) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, slices.Concat(a.options, args)...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// unpack takes what is wanted out of a package.
func unpack(ctx context.Context, deb, to string, wanted func(name string) bool) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	files, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = extract(tar.NewReader(files), to, wanted)
	if err == nil {
		_, err = io.Copy(io.Discard, files)
	} else {
		_ = cmd.Process.Kill()
	}
	return errors.Join(err, cmd.Wait())
}

func extract(files *tar.Reader, to string, wanted func(name string) bool) error {
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || !wanted(name) {
			continue
		}
		at := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(at, os.O_RDWR|os.O_CREATE|os.O_TRUNC, h.FileInfo().Mode().Perm()|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, files)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}

// modules are those that tests need and Debian does not build in.
var modules = []string{"drivers/net/tun"}

// wanted says what of a kernel's package is taken: not the hundreds of MB of drivers.
func wanted(name string) bool {
	base := filepath.Base(name)
	if strings.HasPrefix(name, "boot/") {
		return strings.HasPrefix(base, "vmlinu") || strings.HasPrefix(base, "config-")
	}
	return slices.ContainsFunc(modules, func(m string) bool { return strings.Contains(name, "/kernel/"+m+".ko") })
}

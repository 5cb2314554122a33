// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/quorum"
	"gregor/internal/vfs"
)

// release is one metadata.version that Kafka 4.2 knows, with the levels that
// its other features take by default.
type release struct {
	name                            string // such as 4.0-IV3
	level                           int
	txn, group, elr, share, streams int
}

// releases in order of level; the level of the first, 3.3-IV3, is 7.
var releases = []release{
	{"3.3-IV3", 7, 0, 0, 0, 0, 0}, {"3.4-IV0", 8, 0, 0, 0, 0, 0}, {"3.5-IV0", 9, 0, 0, 0, 0, 0},
	{"3.5-IV1", 10, 0, 0, 0, 0, 0}, {"3.5-IV2", 11, 0, 0, 0, 0, 0}, {"3.6-IV0", 12, 0, 0, 0, 0, 0},
	{"3.6-IV1", 13, 0, 0, 0, 0, 0}, {"3.6-IV2", 14, 0, 0, 0, 0, 0}, {"3.7-IV0", 15, 0, 0, 0, 0, 0},
	{"3.7-IV1", 16, 0, 0, 0, 0, 0}, {"3.7-IV2", 17, 0, 0, 0, 0, 0}, {"3.7-IV3", 18, 0, 0, 0, 0, 0},
	{"3.7-IV4", 19, 0, 0, 0, 0, 0}, {"3.8-IV0", 20, 0, 0, 0, 0, 0}, {"3.9-IV0", 21, 0, 0, 0, 0, 0},
	{"4.0-IV0", 22, 0, 1, 0, 0, 0}, {"4.0-IV1", 23, 0, 1, 0, 0, 0}, {"4.0-IV2", 24, 2, 1, 0, 0, 0},
	{"4.0-IV3", 25, 2, 1, 0, 0, 0}, {"4.1-IV0", 26, 2, 1, 1, 0, 0}, {"4.1-IV1", 27, 2, 1, 1, 0, 0},
	{"4.2-IV0", 28, 2, 1, 1, 1, 0}, {"4.2-IV1", 29, 2, 1, 1, 1, 1}, {"4.3-IV0", 30, 2, 1, 1, 1, 1},
}

// latestRelease is the newest that 4.2 calls stable.
const latestRelease = "4.2-IV1"

func findRelease(s string) (release, error) {
	// 4.1-IV0 is exact; 4.1 and 4.1.2 mean the last stable level of 4.1.
	exact, major := strings.Contains(s, "-"), s
	if parts := strings.Split(s, "."); !exact && len(parts) > 2 {
		major = parts[0] + "." + parts[1]
	}
	var names []string
	found, stable := -1, true
	for i, r := range releases {
		names = append(names, r.name)
		if exact && r.name == s || !exact && stable && strings.Contains(major, ".") && strings.HasPrefix(r.name, major+"-") {
			found = i
		}
		stable = stable && r.name != latestRelease
	}
	if found < 0 {
		return release{}, fmt.Errorf("Unknown metadata.version '%s'. Supported metadata.version are: %s", s, strings.Join(names, ", "))
	}
	return releases[found], nil
}

// features lists the other features of a release, in Kafka's order.
func (r release) features() []featureLevel {
	kraft := 0
	if r.level >= 21 {
		kraft = 1
	}
	return []featureLevel{
		{"kraft.version", kraft}, {"transaction.version", r.txn}, {"group.version", r.group},
		{"eligible.leader.replicas.version", r.elr}, {"share.version", r.share}, {"streams.version", r.streams},
	}
}

type featureLevel struct {
	name  string
	level int
}

// featureNeeds says which levels exist and on which metadata.version each
// rests; level 0 rests on nothing.
var featureNeeds = map[string]map[int][]featureLevel{
	"kraft.version":                    {0: nil, 1: nil},
	"transaction.version":              {0: nil, 1: nil, 2: nil},
	"group.version":                    {0: nil, 1: nil},
	"eligible.leader.replicas.version": {0: nil, 1: {{"metadata.version", 23}}},
	"share.version":                    {0: nil, 1: nil},
	"streams.version":                  {0: nil, 1: nil},
}

func storageArguments() *arguments {
	a := newArguments("kafka-storage", "Prepares and inspects the log directories of a node.")
	config := func(c *arguments) { c.store("--config", "-c").need().about("The node's server.properties.") }
	info := a.sub("info", "Say what is in the log directories.")
	config(info)
	format := a.sub("format", "Make the log directories ready for a node.")
	config(format)
	format.store("--cluster-id", "-t").need().about("The id of the cluster; kafka-storage random-uuid makes one.")
	format.collect("--add-scram", "-S").about("A SCRAM credential to start with: SCRAM-SHA-256=[name=alice,password=secret].")
	format.toggle("--ignore-formatted", "-g").about("Skip directories that are formatted already; else they are an error.")
	format.store("--release-version", "-r").about("The release whose feature levels to start with; " + latestRelease + " when left out.")
	format.collect("--feature", "-f").about("The level of one feature, as name=level.")
	format.exclusive(
		format.toggle("--standalone", "-s").about("This node alone is the quorum of controllers."),
		format.toggle("--no-initial-controllers", "-N").about("This node joins controllers that exist."),
		format.store("--initial-controllers", "-I").about("The quorum to start with: id@host:port:directory, with commas between."),
	)
	mapping := a.sub("version-mapping", "Show the feature levels of a release.")
	mapping.store("--release-version", "-r").about("The release; " + latestRelease + " when left out.")
	needs := a.sub("feature-dependencies", "Show what a feature level rests on.")
	needs.collect("--feature", "-f").need().about("name=level; may be repeated.")
	a.sub("random-uuid", "Print a new id.")
	return a
}

func runStorage(_ context.Context, e *Env, args []string) error {
	ns, err := storageArguments().parse(e, args)
	if err != nil {
		return err
	}
	switch ns.get("command") {
	case "random-uuid":
		e.println(uuidText(randomUUID()))
		return nil
	case "version-mapping":
		name := latestRelease
		if ns.has("release_version") {
			name = ns.get("release_version")
		}
		r, err := findRelease(name)
		if err != nil {
			return failf("%s", err)
		}
		e.printf("metadata.version=%d (%s)\n", r.level, name)
		for _, f := range r.features() {
			e.printf("%s=%d\n", f.name, f.level)
		}
		return nil
	case "feature-dependencies":
		return storageNeeds(e, ns.list("feature"))
	}
	conf, err := loadProps(ns.get("config"))
	if err != nil {
		return err
	}
	node, err := readNodeConf(conf)
	if err != nil {
		return err
	}
	if ns.get("command") == "info" {
		return storageInfo(e, node)
	}
	return storageFormat(e, ns, node)
}

func storageNeeds(e *Env, list []string) error {
	for _, arg := range list {
		name, num, ok := strings.Cut(arg, "=")
		if !ok {
			return failf("Invalid feature format: %s. Expected format: 'feature=version' (e.g. 'group.version=1')", arg)
		}
		name, num = strings.TrimSpace(name), strings.TrimSpace(num)
		level, err := strconv.ParseInt(num, 10, 16)
		if err != nil {
			return failf("Invalid version format: %s for feature %s", num, name)
		}
		if name == "metadata.version" {
			i := slices.IndexFunc(releases, func(r release) bool { return r.level == int(level) })
			if i < 0 {
				return failf("Unknown metadata.version %d", level)
			}
			e.printf("%s=%d (%s) has no dependencies.\n", name, level, releases[i].name)
			continue
		}
		levels, known := featureNeeds[name]
		if !known {
			return failf("Unknown feature: %s", name)
		}
		needs, known := levels[int(level)]
		if !known {
			return failf("Feature level %d is not supported for feature %s", level, name)
		}
		if len(needs) == 0 {
			e.printf("%s=%d has no dependencies.\n", name, level)
			continue
		}
		e.printf("%s=%d requires:\n", name, level)
		for _, n := range needs {
			i := slices.IndexFunc(releases, func(r release) bool { return r.level == n.level })
			e.printf("    %s=%d (%s)\n", n.name, n.level, releases[i].name)
		}
	}
	return nil
}

// nodeConf is the little that formatting needs of server.properties.
type nodeConf struct {
	id          int
	roles       []string
	dirs        []string // sorted, the metadata directory among them
	metadataDir string
	voters      string
	controllers []string // controller listener names
	listeners   []string // NAME://host:port
	advertised  []string
}

func readNodeConf(p props) (nodeConf, error) {
	words := func(name string) (out []string) {
		for _, w := range strings.Split(p[name], ",") {
			if w = strings.TrimSpace(w); w != "" {
				out = append(out, w)
			}
		}
		return out
	}
	n := nodeConf{roles: words("process.roles"), voters: strings.TrimSpace(p["controller.quorum.voters"]), controllers: words("controller.listener.names"),
		listeners: words("listeners"), advertised: words("advertised.listeners")}
	for _, name := range []string{"node.id", "broker.id"} {
		if v, ok := p[name]; ok {
			id, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil || id < 0 {
				return n, failf("Invalid value %s for configuration %s: it must be a number from 0 on", v, name)
			}
			n.id = id
			break
		}
		if name == "broker.id" {
			return n, failf("Missing required configuration \"node.id\" which has no default value.")
		}
	}
	dirs := words("log.dirs")
	if len(dirs) == 0 {
		dirs = words("log.dir")
	}
	if len(dirs) == 0 {
		dirs = []string{"/tmp/kafka-logs"}
	}
	n.metadataDir = strings.TrimSpace(p["metadata.log.dir"])
	if n.metadataDir == "" {
		n.metadataDir = dirs[0]
	}
	n.dirs = append(slices.Clone(dirs), n.metadataDir)
	slices.Sort(n.dirs)
	n.dirs = slices.Compact(n.dirs)
	return n, nil
}

const metaFile = "meta.properties"

func storageInfo(e *Env, n nodeConf) error {
	var found, problems []string
	var first map[string]string
	for _, dir := range n.dirs {
		st, err := os.Stat(dir)
		switch {
		case err != nil:
			problems = append(problems, dir+" does not exist")
			continue
		case !st.IsDir():
			problems = append(problems, dir+" is not a directory")
			continue
		}
		found = append(found, dir)
		path := filepath.Join(dir, metaFile)
		if _, err := os.Stat(path); err != nil {
			problems = append(problems, dir+" is not formatted.")
			continue
		}
		meta, err := loadProps(path)
		if err != nil {
			problems = append(problems, fmt.Sprintf("Error loading %s: %s", path, err))
			continue
		}
		switch {
		case first == nil:
			first = meta
		case first["cluster.id"] != meta["cluster.id"]:
			problems = append(problems, "Mismatched cluster IDs between storage directories.")
		case first["node.id"] != meta["node.id"]:
			problems = append(problems, "Mismatched node IDs between storage directories.")
		}
	}
	if len(found) > 0 {
		if len(found) == 1 {
			e.println("Found log directory:")
		} else {
			e.println("Found log directories:")
		}
		e.printf("  %s\n\n", strings.Join(found, "\n  "))
	}
	if first != nil {
		var words []string
		for _, k := range slices.Sorted(maps.Keys(first)) {
			words = append(words, k+"="+first[k])
		}
		e.printf("Found metadata: {%s}\n\n", strings.Join(words, ", "))
	}
	if len(problems) == 0 {
		return nil
	}
	if len(problems) == 1 {
		e.println("Found problem:")
	} else {
		e.println("Found problems:")
	}
	e.printf("  %s\n\n", strings.Join(problems, "\n  "))
	return &exit{status: 1}
}

// storageFormat writes meta.properties into each directory, as Kafka does, and
// into the metadata directory how the cluster begins.
//
// Differs from Kafka: that is files of the quorum's own, no bootstrap.checkpoint
// and no snapshot of the voters, because the metadata log is not Kafka's.
func storageFormat(e *Env, ns *namespace, n nodeConf) error {
	if len(n.roles) == 0 {
		return failf("process.roles is not set: only nodes in KRaft mode can be formatted.")
	}
	name := latestRelease
	levels := map[string]int{}
	for _, arg := range ns.list("feature") {
		f, num, ok := strings.Cut(arg, "=")
		level, err := strconv.ParseInt(strings.TrimSpace(num), 10, 16)
		if !ok || err != nil {
			return failf("Can't parse feature=level string %s", arg)
		}
		levels[strings.TrimSpace(f)] = int(level)
	}
	if ns.has("release_version") {
		name = ns.get("release_version")
		if _, both := levels["metadata.version"]; both {
			return failf("Use --release-version instead of --feature metadata.version=X to avoid ambiguity.")
		}
	}
	rel, err := findRelease(name)
	if err != nil {
		return failf("%s", err)
	}
	if l, ok := levels["metadata.version"]; ok {
		i := slices.IndexFunc(releases, func(r release) bool { return r.level == l })
		if i < 0 {
			return failf("No MetadataVersion with feature level %d", l)
		}
		rel = releases[i]
	}
	if stable, _ := findRelease(latestRelease); rel.level > stable.level {
		return failf("metadata.version %s is not yet stable.", rel.name)
	}
	controller := slices.Contains(n.roles, "controller")
	standalone, joins, initial := ns.on("standalone"), ns.on("no_initial_controllers"), ns.get("initial_controllers")
	switch {
	case n.voters != "" && (standalone || initial != ""):
		return failf("You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. If you want to use dynamic quorum, please remove controller.quorum.voters and specify controller.quorum.bootstrap.servers instead.")
	case initial != "" && !controller:
		return failf("You can only use --initial-controllers on a controller.")
	case standalone && !controller:
		return failf("You can only use --standalone on a controller.")
	case !joins && controller && n.voters == "" && !standalone && initial == "":
		return failf("Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, --initial-controllers, or --no-initial-controllers.")
	}
	founding, left, err := foundingLevels(rel, levels, n.voters == "")
	if err != nil {
		return err
	}
	if len(ns.list("add_scram")) > 0 {
		return failf("--add-scram: SCRAM credentials are not built yet; a node formatted without them has no users.")
	}
	voters, err := parseVoters(initial, n.controllerListener())
	if err != nil {
		return failf("%s", err)
	}
	cluster := ns.get("cluster_id")
	var fresh []string
	for _, dir := range n.dirs {
		meta, err := loadProps(existing(filepath.Join(dir, metaFile)))
		if err != nil {
			return err
		}
		switch {
		case len(meta) == 0:
			fresh = append(fresh, dir)
		case meta["cluster.id"] != cluster:
			return failf("Invalid cluster.id in: %s. Expected %s, but read %s", filepath.Join(dir, metaFile), cluster, meta["cluster.id"])
		case meta["node.id"] != strconv.Itoa(n.id):
			return failf("Stored node id %s doesn't match previous node id %d in: %s", meta["node.id"], n.id, filepath.Join(dir, metaFile))
		case !ns.on("ignore_formatted"):
			return failf("Log directory %s is already formatted. Use --ignore-formatted to ignore this directory and format the others.", dir)
		}
	}
	if len(fresh) == 0 {
		e.println("All of the log directories are already formatted.")
		return nil
	}
	if len(left) > 0 {
		e.printf("Left out, because this program does not know them: %s\n", strings.Join(left, ", "))
	}
	e.println("Bootstrap metadata: " + bootstrapText(founding))
	for _, dir := range fresh {
		id, kind := randomUUID(), "data directory"
		if dir == n.metadataDir {
			own := slices.IndexFunc(voters, func(v quorum.Voter) bool { return int(v.ID) == n.id })
			switch {
			case standalone:
				kind = "dynamic metadata voter directory"
				self, err := n.asVoter(id)
				if err != nil {
					return failf("%s", err)
				}
				voters = []quorum.Voter{self}
			case own >= 0:
				kind, id = "dynamic metadata voter directory", voters[own].Directory
			case initial != "":
				kind = "dynamic metadata directory"
			default:
				kind = "metadata directory"
			}
		}
		e.printf("Formatting %s %s with metadata.version %s.\n", kind, dir, rel.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return failf("%s", err)
		}
		text := fmt.Sprintf("#\nversion=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", cluster, n.id, uuidText(id))
		if err := writeMeta(dir, text); err != nil {
			return failf("Error while writing meta.properties file %s: %s", dir, err)
		}
		if dir == n.metadataDir && controller {
			if err := quorum.WriteLevels(vfs.OS(), filepath.Join(dir, config.MetadataTopic+"-0"), founding); err != nil {
				return failf("Error while formatting %s: %s", dir, err)
			}
			f := quorum.Founding{Node: int32(n.id), Directory: id, Cluster: cluster, Voters: voters}
			if err := quorum.Format(vfs.OS(), filepath.Join(dir, config.MetadataTopic+"-0"), f); err != nil {
				return failf("Error while formatting %s: %s", dir, err)
			}
		}
	}
	return nil
}

// existing is path if there is such a file, else "".
func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// writeMeta replaces meta.properties whole or not at all.
func writeMeta(dir, text string) error {
	path := filepath.Join(dir, metaFile)
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	defer os.Remove(path + ".tmp")
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// parseVoters reads id@host:port:directory words; the endpoints are of the
// listener named.
func parseVoters(s, listener string) (out []quorum.Voter, err error) {
	if s == "" {
		return nil, nil
	}
	for _, w := range strings.Split(s, ",") {
		w = strings.TrimSpace(w)
		id, rest, ok := strings.Cut(w, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("Failed to parse node id in dynamic voter string %s: expected id@host:port:directory", w)
		}
		i := strings.LastIndex(rest, ":")
		if i < 0 || !strings.Contains(rest[:i], ":") {
			return nil, fmt.Errorf("No directory id found in dynamic voter string %s: expected id@host:port:directory", w)
		}
		dir, err := parseUUID(rest[i+1:])
		if err != nil {
			return nil, fmt.Errorf("Failed to parse directory id in dynamic voter string %s: %w", w, err)
		}
		e, err := parseAddr(listener, rest[:i])
		if err != nil {
			return nil, fmt.Errorf("Failed to parse host and port in dynamic voter string %s: %w", w, err)
		}
		out = append(out, quorum.Voter{ID: int32(n), Directory: dir, Endpoints: []meta.Endpoint{e}})
	}
	if err := quorum.CheckVoters(out); err != nil {
		return nil, fmt.Errorf("The initial controllers cannot be: %w", err)
	}
	return out, nil
}

func parseAddr(listener, addr string) (meta.Endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return meta.Endpoint{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return meta.Endpoint{}, err
	}
	return meta.Endpoint{Listener: listener, Host: host, Port: uint16(n)}, nil
}

// controllerListener is the listener by which controllers are reached.
func (n nodeConf) controllerListener() string {
	if len(n.controllers) > 0 {
		return strings.ToUpper(n.controllers[0])
	}
	name, _, _ := strings.Cut(first(n.listeners), "://")
	return strings.ToUpper(strings.TrimSpace(name))
}

func first(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return l[0]
}

// asVoter is this node as a voter, by what it advertises.
func (n nodeConf) asVoter(dir [16]byte) (quorum.Voter, error) {
	v := quorum.Voter{ID: int32(n.id), Directory: dir}
	name := n.controllerListener()
	for _, l := range append(slices.Clone(n.advertised), n.listeners...) {
		listener, addr, ok := strings.Cut(l, "://")
		if !ok || !strings.EqualFold(strings.TrimSpace(listener), name) {
			continue
		}
		e, err := parseAddr(name, addr)
		if err != nil {
			return v, fmt.Errorf("The controller listener %s cannot be read: %w", l, err)
		}
		if ip := net.ParseIP(e.Host); e.Host == "" || ip != nil && ip.IsUnspecified() {
			if e.Host, err = os.Hostname(); err != nil {
				e.Host = "localhost"
			}
		}
		v.Endpoints = []meta.Endpoint{e}
		return v, nil
	}
	return v, nil // the node says where it is when it starts
}

// bootstrapText draws the records that Kafka would start its metadata with.
func bootstrapText(levels map[string]int16) string {
	record := func(name string) string {
		return fmt.Sprintf("ApiMessageAndVersion(FeatureLevelRecord(name='%s', featureLevel=%d) at version 0)", name, levels[name])
	}
	words := []string{record(meta.MetadataVersion)}
	for _, name := range slices.Sorted(maps.Keys(levels)) {
		if name != "kraft.version" && name != meta.MetadataVersion && levels[name] > 0 {
			words = append(words, record(name))
		}
	}
	return fmt.Sprintf("BootstrapMetadata(records=[%s], metadataVersionLevel=%d, source=format command)", strings.Join(words, ", "), levels[meta.MetadataVersion])
}

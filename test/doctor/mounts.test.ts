import { expect, test } from 'vitest'
import { judgeDyno, judgeMount, type Kind, mountOf } from '../../src/doctor/mounts.ts'

/** As /proc/self/mountinfo has it: id, parent, device, root, point, options, optional fields, -, type, source, options. */
const mounted = (...mounts: [point: string, type: string, optional?: string][]) =>
  mounts
    .map(
      ([point, type, optional = ''], i) =>
        `${i + 22} 1 0:${i} / ${point} rw,relatime ${optional}${optional && ' '}- ${type} source rw,seclabel`,
    )
    .join('\n')

const DOCKER = mounted(
  ['/', 'overlay', 'master:312'],
  ['/proc', 'proc'],
  ['/dev', 'tmpfs'],
  ['/app/data', 'ext4', 'shared:1 master:2'],
  ['/app/data/shared', 'fakeowner'],
)

test.for<[path: string, type: string, kind: Kind]>([
  ['/app', 'overlay', 'container'],
  ['/app/database', 'overlay', 'container'],
  ['/app/data', 'ext4', 'local'],
  ['/app/data/deep/down', 'ext4', 'local'],
  ['/app/data/shared', 'fakeowner', 'host'],
  ['/', 'overlay', 'container'],
])('finds the mount that a path is on: %s', ([path, type, kind]) => {
  expect(mountOf(path, DOCKER)).toMatchObject({ type, kind })
})

test('of two mounts at the same place the later one counts', () => {
  expect(mountOf('/data/x', mounted(['/', 'ext4'], ['/data', 'ext4'], ['/data', 'nfs4']))?.kind).toBe('network')
})

test('a space in the name of the place', () => {
  expect(mountOf('/my data/x', mounted(['/', 'ext4'], ['/my\\040data', 'cifs']))).toEqual({
    point: '/my data',
    type: 'cifs',
    kind: 'network',
  })
})

test('nothing known, no mount', () => {
  expect(mountOf('/data', '')).toBeUndefined()
  expect(mountOf('/data', 'something else\n\n1 2 3')).toBeUndefined()
})

test.for<[type: string, kind: Kind]>([
  ...(['ext4', 'xfs', 'btrfs', 'zfs', 'fuseblk', 'apfs', 'ext2/ext3'] as const).map(
    (type) => [type, 'local'] as [string, Kind],
  ),
  ...(['nfs', 'nfs4', 'cifs', 'smb3', 'ceph', 'fuse.sshfs', 'fuse.s3fs', 'fuse.glusterfs'] as const).map(
    (type) => [type, 'network'] as [string, Kind],
  ),
  ...(['9p', 'virtiofs', 'fakeowner', 'fuse.grpcfuse', 'grpcfuse', 'fuse.osxfs', 'vboxsf', 'drvfs'] as const).map(
    (type) => [type, 'host'] as [string, Kind],
  ),
  ...(['overlay', 'aufs', 'fuse.fuse-overlayfs'] as const).map((type) => [type, 'container'] as [string, Kind]),
  ...(['tmpfs', 'ramfs'] as const).map((type) => [type, 'memory'] as [string, Kind]),
])('%s is %s', ([type, kind]) => {
  expect(mountOf('/x', mounted(['/', type]))?.kind).toBe(kind)
})

test.for<[type: string, ephemeral: boolean, state: string, text: RegExp, cure: RegExp | undefined]>([
  ['ext4', false, 'ok', /^local disk \(ext4\)$/, undefined],
  [
    'nfs4',
    true,
    'wrong',
    /^\/data is a network drive \(nfs4\), on which SQLite's log breaks$/,
    /^let TOPICS_URL name a folder on a local disk or on a named volume/,
  ],
  [
    'fakeowner',
    true,
    'wrong',
    /^\/data is a folder of the host \(fakeowner\), on which SQLite's log breaks$/,
    /named volume/,
  ],
  [
    'overlay',
    false,
    'note',
    /^it is in the container itself \(overlay\) and gone with it$/,
    /^mount a named volume there \(docker run -v client-predict:\/app\/data\), or set TOPICS_URL/,
  ],
  ['tmpfs', false, 'wrong', /^\/data is in memory \(tmpfs\) and gone at the next restart$/, /TOPICS_URL/],
  ['tmpfs', true, 'note', /^\/data is in memory/, /TOPICS_URL/],
])('SQLite on %s (known not to last: %s) is %s', ([type, ephemeral, state, text, cure]) => {
  const found = judgeMount(mountOf('/data', mounted(['/data', type]))!, 'TOPICS_URL', ephemeral)
  expect(found).toEqual({
    state,
    text: expect.stringMatching(text),
    ...(cure && { cure: expect.stringMatching(cure) }),
  })
})

test('a dyno loses its disk, which is wrong unless it is known', () => {
  expect(judgeDyno('TOPICS_URL', false)).toMatchObject({ state: 'wrong', cure: expect.stringMatching(/TOPICS_URL/) })
  expect(judgeDyno('TOPICS_URL', true).state).toBe('note')
})

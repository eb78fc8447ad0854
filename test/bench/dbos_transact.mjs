// DBOS Transact (TypeScript) beside us: node dbos_transact.mjs COUNT.  Durable workflows that do nothing,
// ten at once, called directly.  It makes a database of its own, since its schema has our name.
// SPDX-License-Identifier: PostgreSQL
import { createRequire } from 'node:module';
const require = createRequire(process.env.PEERS_NPM + '/package.json');
const { DBOS } = require('@dbos-inc/dbos-sdk');
const { Client } = require('pg');
const count = Math.min(Number(process.argv[2]), 5000);
const { PGHOST, PGPORT, PGUSER } = process.env;
const database = 'dbos_bench_transact';
const admin = new Client({ database: 'postgres' });
await admin.connect();
await admin.query(`DROP DATABASE IF EXISTS ${database}`);
await admin.query(`CREATE DATABASE ${database}`);
DBOS.setConfig({ name: 'bench', logLevel: 'error', systemDatabasePoolSize: 20, runAdminServer: false,
  systemDatabaseUrl: `postgresql://${PGUSER}@localhost:${PGPORT}/${database}?host=${encodeURIComponent(PGHOST)}` });
const noop = DBOS.registerWorkflow(async () => {}, { name: 'noop' });
await DBOS.launch();
let started = 0;
const begin = performance.now();
await Promise.all(Array.from({ length: 10 }, async () => { while (started++ < count) await noop(); }));
console.log(`dbos-transact-ts execute_direct_c10 ${(count / (performance.now() - begin) * 1000).toFixed(0)} workflows/s`);
await DBOS.shutdown();
await admin.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
process.exit(0);

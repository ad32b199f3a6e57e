# An exact version, so that a build next year is the build of today.
ARG NODE_IMAGE=node:24.21.0-slim

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json ./
COPY src ./src
# The default settings keep both SQLite files here. A volume made from the image takes over owner and mode.
RUN mkdir data && chown 1000:1000 data
VOLUME /app/data
USER 1000:1000
# Not `npm start`: npm does not pass SIGTERM on.
CMD ["node", "src/main.ts"]
